"""Tenants that do what no tenant should, beside one that behaves, on one core of one process."""

import subprocess

from .. import process, servers
from ..context import GUESTS, LOGS, SERVER_CPU, Context, say
from ..process import Failed, Running
from ..table import Column, Table
from .looping import RATE, run_paced

# What four connections ask for again and again meanwhile; none: nobody asks for anything.
PATHS = {
    "alone": None,
    "beside 4 that behave": "/hello",
    "beside 4 that loop": "/loop",
    "beside 4 that take all memory": "/memory",
    "beside 4 that recurse": "/recurse",
    "beside 4 that print for ever": "/flood-stdout",
    "beside 4 that trap": "/trap",
    "beside 4 that trap in a body": "/trap-mid-body",
    "beside 4 that send for ever": "/flood",
    "beside 4 that trickle": "/trickle",
}
CONNECTIONS = 4


def hostile(context: Context) -> list[Table]:
    """The latency of a well-behaved guest beside each kind of hostile one."""
    columns = [
        Column("p50", f"p50 us at {RATE}/s"),
        Column("p99", f"p99 us at {RATE}/s"),
        Column("factor", "p99, alone = 1", factor=True),
    ]
    table = Table("a neighbour that is hostile, same core", columns, plot="p99")
    table.notes.append(
        f"One process, one thread; all are requests to one component, each in its own instance: {RATE} `/hello` a second, and on "
        f"{CONNECTIONS} connections one request after another to a hostile path, with 100 ms of CPU time and 64 MiB of memory each. "
        "Latency counts from the moment a request was due."
    )
    for paths in context.rounds(context.effort.rounds, list(PATHS.items())):
        figures = {label: one_path(context, label, path) for label, path in paths}
        for label in PATHS:
            figure = figures[label]
            table.row(label).add(factor=figure["p99"] / figures["alone"]["p99"], p50=figure["p50"], p99=figure["p99"])
    return [table]


def one_path(context: Context, label: str, path: str | None) -> dict[str, float]:
    """A server of its own for each path: nothing of the last one can be left."""
    options = ["--cpu-time", "100ms", "--memory", "64MiB", "--drain", "1ms"]
    running = process.start(servers.shoal(context, GUESTS / "hostile.wasm", *options, path="/hello"), SERVER_CPU, LOGS)
    try:
        run_paced(running, context)
        enemy = attack(running, path, context) if path else None
        try:
            paced = run_paced(running, context)
            if enemy and enemy.poll() is not None:
                raise Failed(f"the clients of {path} ended before the measurement did")
        finally:
            if enemy:
                enemy.kill()
                enemy.wait()
    finally:
        running.stop()
    say(f"  {label:<32} p99 {paced['p99']:>9,.0f} us")
    return paced


def attack(running: Running, path: str, context: Context) -> subprocess.Popen:
    """Clients of a hostile path, on the core of the load generator, until they are killed."""
    url = f"http://127.0.0.1:{running.port}{path}"
    seconds = round(context.effort.seconds * 2 + 60)
    command = ["nice", "-n", "10", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "20s", url]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, preexec_fn=process.pin(context.cpus[1]), **quiet)
