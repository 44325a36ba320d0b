"""What loaded apps cost in memory, and how quickly one answers: many copies of a component in one process."""

import json
import time

from .. import process
from ..context import CACHE, GUESTS, SERVER_CPU, Context, environment, say
from ..table import Column, Table

# Each app is compiled once before it is measured: some 20 to 60 ms.
PREPARE_SECONDS_MAX = 1800
MEASURE_SECONDS_MAX = 600


def density(context: Context) -> list[Table]:
    """Loaded idle apps, live instances, and the time from the cache to the first byte, in process."""
    apps = context.effort.apps
    results = {}
    for guest, count in (("hello", apps // 10), ("hello-small", apps)):
        results[guest] = one_guest(context, guest, count)
    return [memory_table(results), time_table(results)]


def one_guest(context: Context, guest: str, count: int) -> dict:
    # What one build compiled, another does not trust; the copies of one run serve the next one, too.
    directory = CACHE / f"density-{context.build.name}-{guest}"
    directory.mkdir(parents=True, exist_ok=True)
    component = str(GUESTS / f"{guest}.wasm")
    began = time.monotonic()
    example(context, "prepare", component, count, directory, timeout=PREPARE_SECONDS_MAX, cpu=None)
    say(f"  {count} copies of {guest} compiled or found in {time.monotonic() - began:.1f} s")
    waiting = str(GUESTS / "hostile.wasm")
    output = example(context, "measure", component, count, directory, waiting, timeout=MEASURE_SECONDS_MAX, cpu=SERVER_CPU)
    figures = json.loads(output)
    say(f"  {figures['anonymous_bytes_per_app'] / 1024:.1f} KiB per idle app, first answer after {figures['first_byte_us'][0]:.0f} us")
    return figures


def example(context: Context, *arguments: object, timeout: float, cpu: int | None) -> str:
    command = [context.example("density"), *(str(argument) for argument in arguments)]
    what = f"`density {arguments[0]}`"
    return process.output(what, command, cpu, timeout, environment(context), "see docs/benchmarks.md for how it is built")


def memory_table(results: dict[str, dict]) -> Table:
    columns = [
        Column("apps", "apps"),
        Column("idle", "anonymous KiB per idle app", 1),
        Column("file", "mapped file KiB per idle app", 1),
        Column("total", "anonymous MiB of the process"),
        Column("live", "anonymous KiB per live instance", 1),
    ]
    table = Table("loaded apps and live instances", columns, plot="idle")
    table.notes.append(
        "The copies differ in a custom section, so none shares its code with another. File pages are clean and belong to the "
        "page cache. The live instance is in both rows that of an ordinary guest which has run, holds its memory and waits."
    )
    for guest, figures in results.items():
        table.row(f"shoal, {guest}").add(
            apps=figures["apps"],
            idle=figures["anonymous_bytes_per_app"] / 1024,
            file=figures["file_bytes_per_app"] / 1024,
            total=figures["anonymous_bytes"] / 2**20,
            live=figures["live_anonymous_bytes_per_instance"] / 1024,
        )
    return table


def time_table(results: dict[str, dict]) -> Table:
    names = {"load_us": "load", "first_byte_us": "load and first answer", "instantiate_us": "instantiate", "on_core_us": "whole request"}
    columns = [Column(f"{key}_{at}", f"{name}, {at} us", 1) for key, name in names.items() for at in ("p50", "p99")]
    table = Table("in process: from the cache, and each request", columns, plot="first_byte_us_p50")
    table.notes.append(
        "`load` takes an artifact whose code is in the cache on disk: read, recognised, its seal verified, mapped, linked. "
        "`instantiate` is what each request reports: an instance made, or brought back to its first state; `whole request` includes it, "
        "and has no sockets in it. 5,000 requests, one after the other."
    )
    for guest, figures in results.items():
        row = table.row(f"shoal, {guest}")
        for key in names:
            row.add(**{f"{key}_p50": figures[key][0], f"{key}_p99": figures[key][1]})
    return table
