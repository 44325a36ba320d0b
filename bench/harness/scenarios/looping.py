"""A tenant that loops beside one that behaves, on one core of one process."""

import json
import socket
import sys
from pathlib import Path

from .. import load, process, servers
from ..context import GUESTS, LOGS, SERVER_CPU, Context, say
from ..process import Failed, Running
from ..table import Column, Table

CLIENT = Path(__file__).resolve().parent.parent / "paced_client.py"
# Far below what one core answers: what is seen is the wait for the core, not a queue of the neighbour's own.
RATE = 200
CONNECTIONS = 16
SETTINGS = [0, 1, 4]
CLIENT_GRACE_SECONDS = 60


def looping(context: Context) -> list[Table]:
    """The latency of a well-behaved guest: alone, beside one looping request, and beside four."""
    columns = [
        Column("paced_p50", f"p50 us at {RATE}/s"),
        Column("paced_p99", f"p99 us at {RATE}/s"),
        Column("paced_factor", "p99, alone = 1", factor=True),
        Column("rps", f"requests/s, {CONNECTIONS} connections"),
        Column("p99", f"p99 us, {CONNECTIONS} connections"),
        Column("factor", "p99, alone = 1", factor=True),
    ]
    table = Table("a neighbour that loops, same core", columns, plot="paced_p99")
    table.notes.append(
        "One process, one thread; both are requests to one component (`/hello` and `/loop`), each in its own instance, "
        "without a limit of CPU time. With a fixed rate, latency counts from the moment a request was due."
    )
    for settings in context.rounds(context.effort.rounds, SETTINGS):
        one_round(context, table, settings)
    return [table]


def label(loops: int) -> str:
    return {0: "shoal, alone", 1: "shoal, beside 1 loop"}.get(loops, f"shoal, beside {loops} loops")


def one_round(context: Context, table: Table, settings: list[int]) -> None:
    figures = {loops: one_setting(context, loops) for loops in settings}
    alone = figures[0]
    for loops in SETTINGS:
        figure = figures[loops]
        figure["paced_factor"] = figure["paced_p99"] / alone["paced_p99"]
        figure["factor"] = figure["p99"] / alone["p99"]
        table.row(label(loops)).add(**figure)


def one_setting(context: Context, loops: int) -> dict[str, float]:
    """A server of its own for each setting: nothing of the last one can be left."""
    guest = GUESTS / "hostile.wasm"
    options = ["--cpu-time", "none", "--timeout", "none", "--drain", "1ms"]
    running = process.start(servers.shoal(context, guest, *options, path="/hello"), SERVER_CPU, LOGS)
    sockets = []
    try:
        load.wrk(running.url, CONNECTIONS, 1, context.cpus[1])
        sockets = [begin_loop(running) for _ in range(loops)]
        paced = run_paced(running, context)
        sample = load.measure(running, CONNECTIONS, context.effort.seconds, 0, context.cpus)
    finally:
        for loop in sockets:
            loop.close()
        running.stop()
    say(f"  {label(loops):<24} p99 {paced['p99']:>9,.0f} us paced, {sample.p99_us:>9,.0f} us with {CONNECTIONS} connections")
    return {"paced_p50": paced["p50"], "paced_p99": paced["p99"], "rps": sample.rps, "p99": sample.p99_us}


def begin_loop(running: Running) -> socket.socket:
    """Sends a request that never ends, and shows that it runs: the server's CPU time grows without other work."""
    loop = socket.create_connection(("127.0.0.1", running.port), 5)
    loop.sendall(b"GET /loop HTTP/1.1\r\nhost: looping.test\r\n\r\n")
    before = running.cpu_seconds()
    loop.settimeout(0.1)
    try:
        answer = loop.recv(64)
    except TimeoutError:
        answer = b""
    if answer or running.cpu_seconds() - before < 0.01:
        raise Failed(f"the looping request does not loop: {answer!r}")
    return loop


def run_paced(running: Running, context: Context) -> dict[str, float]:
    seconds = context.effort.seconds
    command = [sys.executable, str(CLIENT), str(running.port), "/hello", str(RATE), str(seconds)]
    longest = seconds * 2 + CLIENT_GRACE_SECONDS
    return json.loads(process.output("the paced client", command, context.cpus[1], longest))
