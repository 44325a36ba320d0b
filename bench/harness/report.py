"""The results as JSON (every sample), markdown (medians) and a plot."""

import json
from datetime import datetime
from pathlib import Path

from . import plot
from .table import Table, cell


def write(directory: Path, when: datetime, about: dict, results: dict[str, list[Table]]) -> list[Path]:
    """Writes DATE.json, DATE.md and DATE.svg; a second run in the same minute replaces the first."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = when.strftime("%Y-%m-%d-%H%M")
    files = {
        ".json": as_json(about, results),
        ".md": as_markdown(about, results, f"{stem}.svg"),
        ".svg": plot.svg([table for tables in results.values() for table in tables]),
    }
    written = []
    for suffix, text in files.items():
        path = directory / (stem + suffix)
        path.write_text(text)
        written.append(path)
    return written


def as_json(about: dict, results: dict[str, list[Table]]) -> str:
    scenarios = {
        name: [
            {
                "title": table.title,
                "columns": {column.key: column.heading for column in table.columns},
                "rows": [
                    {"label": row.label, "note": row.note, "samples": {key: rounded(values) for key, values in row.samples.items()}}
                    for row in table.rows
                ],
                "notes": table.notes,
            }
            for table in tables
        ]
        for name, tables in results.items()
    }
    return json.dumps({"about": about, "scenarios": scenarios}, indent=1) + "\n"


def rounded(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]


def as_markdown(about: dict, results: dict[str, list[Table]], plot_name: str) -> str:
    lines = [f"# Benchmarks of {about['date']}", ""]
    lines += [f"- {key}: {value}" for key, value in about.items() if key != "date"]
    lines += ["", "Medians of interleaved rounds [minimum-maximum]. How it is measured: docs/benchmarks.md.", ""]
    lines += [f"![CPU time and the other main figures]({plot_name})", ""]
    for tables in results.values():
        for table in tables:
            lines += [f"## {table.title}", "", *markdown_table(table), ""]
            lines += [f"{note}\n" for note in table.notes]
    return "\n".join(lines)


def markdown_table(table: Table) -> list[str]:
    """A table with a column for remarks only where there are any."""
    remarks = any(row.note for row in table.rows)
    headings = ["", *(column.heading for column in table.columns), *(["remark"] if remarks else [])]
    lines = [line(headings), line(["---", *("---:" for _ in table.columns), *(["---"] if remarks else [])])]
    for row in table.rows:
        cells = [cell(row, column) for column in table.columns]
        lines.append(line([row.label, *cells, *([row.note] if remarks else [])]))
    return lines


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
