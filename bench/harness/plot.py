"""A plot of all results as one SVG: a panel for each table, a bar for each row, a whisker from minimum to maximum."""

from html import escape

from .table import Column, Row, Table, number

WIDTH = 860
LABEL_WIDTH = 230
VALUE_WIDTH = 110
BAR_HEIGHT = 18
ROW_HEIGHT = 26
TITLE_HEIGHT = 44
PANEL_GAP = 18
BAR_SPACE = WIDTH - LABEL_WIDTH - VALUE_WIDTH

OURS, THEIRS, INK, FAINT = "#0b7285", "#adb5bd", "#212529", "#868e96"


def svg(tables: list[Table]) -> str:
    """Tables that name no column to plot, or have no samples, are left out."""
    panels, top = [], PANEL_GAP
    for table in tables:
        column = next((column for column in table.columns if column.key == table.plot), None)
        rows = [row for row in table.rows if column and row.samples.get(column.key)]
        if column and rows:
            panels.append(panel(table, column, rows, top))
            top += TITLE_HEIGHT + ROW_HEIGHT * len(rows) + PANEL_GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}" '
        'font-family="system-ui, sans-serif" font-size="13">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>', *panels, "</svg>", ""])


def panel(table: Table, column: Column, rows: list[Row], top: int) -> str:
    largest = max(max(row.samples[column.key]) for row in rows) or 1.0
    parts = [
        text(12, top + 16, table.title, INK, weight="bold"),
        text(12, top + 33, column.heading, FAINT, size=12),
    ]
    for index, row in enumerate(rows):
        parts.append(bar(column, row, top + TITLE_HEIGHT + index * ROW_HEIGHT, BAR_SPACE / largest))
    return "\n".join(parts)


def bar(column: Column, row: Row, top: float, scale: float) -> str:
    values = row.samples[column.key]
    median = row.median(column.key) or 0.0
    middle = top + BAR_HEIGHT / 2
    colour = OURS if row.label.startswith("shoal") else THEIRS
    least, most = (LABEL_WIDTH + value * scale for value in (min(values), max(values)))
    return "\n".join(
        [
            text(LABEL_WIDTH - 8, middle + 4, row.label, INK, anchor="end"),
            f'<rect x="{LABEL_WIDTH}" y="{top}" width="{max(1.0, median * scale):.1f}" height="{BAR_HEIGHT}" fill="{colour}"/>',
            f'<line x1="{least:.1f}" y1="{middle}" x2="{most:.1f}" y2="{middle}" stroke="{INK}" stroke-width="1.2"/>',
            text(max(most, LABEL_WIDTH + median * scale) + 8, middle + 4, number(median, column), INK),
        ]
    )


def text(x: float, y: float, words: str, colour: str, size: int = 13, weight: str = "normal", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )
