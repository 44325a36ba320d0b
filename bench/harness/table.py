"""What a scenario hands back: rows of samples. The tables, the plot and the JSON are all made from it."""

import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Column:
    """One measured figure."""

    key: str
    heading: str
    decimals: int = 0
    # A share is shown as a multiple: 1.40x.
    factor: bool = False


@dataclass
class Row:
    """One server, or one setting, and every sample of every figure."""

    label: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    # Why there are no samples, or what to know about them.
    note: str = ""

    def add(self, **figures: float) -> None:
        for key, value in figures.items():
            self.samples.setdefault(key, []).append(value)

    def median(self, key: str) -> float | None:
        values = self.samples.get(key)
        return statistics.median(values) if values else None


@dataclass
class Table:
    """The result of one scenario, or of one half of it."""

    title: str
    columns: list[Column]
    rows: list[Row] = field(default_factory=list)
    # Sentences under the table: what was done, and what the figures do not say.
    notes: list[str] = field(default_factory=list)
    # The key of the column that the plot shows; empty: no plot.
    plot: str = ""

    def row(self, label: str) -> Row:
        """The row with this label, made when it is missing."""
        for row in self.rows:
            if row.label == label:
                return row
        row = Row(label)
        self.rows.append(row)
        return row


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * share // 1))
    return ordered[int(rank) - 1]


def cell(row: Row, column: Column) -> str:
    """`median [min-max]`; the median alone where there is one sample."""
    values = row.samples.get(column.key)
    if not values:
        return "-"
    text = number(statistics.median(values), column)
    if len(values) > 1 and not column.factor:
        text += f" [{number(min(values), column)}-{number(max(values), column)}]"
    return text


def number(value: float, column: Column) -> str:
    if column.factor:
        return f"{value:.2f}x"
    return f"{value:,.{column.decimals}f}"
