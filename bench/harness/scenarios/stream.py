"""A large body through a guest and back."""

import json
import sys
from pathlib import Path

from .. import process, servers
from ..context import CLIENT_CPU, GUESTS, LOGS, SERVER_CPU, Context, say
from ..process import Failed, Running, Server
from ..table import Column, Table

CLIENT = Path(__file__).resolve().parent.parent / "stream_client.py"
CLIENT_SECONDS_MAX = 120


def stream(context: Context) -> list[Table]:
    """A body that streams through and comes back, beside hyper alone: sent back at once, or through a proxy."""
    size = context.effort.stream_mebibytes
    columns = [
        Column("rate", "MiB/s each way"),
        Column("cpu_ms", f"CPU ms for {size} MiB"),
        Column("share", "rate, native proxy = 1", factor=True),
        Column("growth", "RSS growth, peak MiB", 1),
    ]
    table = Table(f"{size} MiB streamed through", columns, plot="rate")
    table.notes.append(
        "One connection. The client, and the server behind the proxy, share the other core. The growth is the peak of "
        "resident memory during a stream over what was resident before it, after one stream to warm up; in that first "
        "stream the bytes that came back were compared with those sent."
    )
    native = Server("native hyper, echo", [context.example("stream"), "echo", "127.0.0.1:{port}"])
    running: list[Running] = []
    upstream = process.launch(Server("upstream", native.command), CLIENT_CPU, LOGS)
    try:
        proxy = [context.example("stream"), "proxy", "127.0.0.1:{port}", f"127.0.0.1:{upstream.port}"]
        echo = GUESTS / "echo.wasm"
        contestants = [
            Server("native hyper, proxy", proxy),
            native,
            servers.shoal(context, echo, name="shoal, echo guest"),
            servers.wasmtime_serve(context, echo, name="wasmtime serve, echo guest"),
        ]
        for server in contestants:
            started = process.launch(server, SERVER_CPU, LOGS)
            running.append(started)
            wait_and_check(started, size)
        for order in context.rounds(context.effort.stream_rounds, running):
            one_round(table, order, size)
    finally:
        for server in [*running, upstream]:
            server.stop()
    table.rows.sort(key=lambda row: [server.name for server in contestants].index(row.label))
    return [table]


def wait_and_check(running: Running, mebibytes: int) -> None:
    process.wait_until_accepting(running)
    if not send(running, mebibytes, "check")["whole"]:
        raise Failed(f"{running.server.name} did not send back what it got")


def one_round(table: Table, order: list[Running], mebibytes: int) -> None:
    rates = {}
    for running in order:
        process.reset_peak(running.process.pid)
        resident, cpu = running.memory_bytes()["rss"], running.cpu_seconds()
        result = send(running, mebibytes)
        cpu_ms = (running.cpu_seconds() - cpu) * 1e3
        growth = process.status_bytes(running.process.pid, "VmHWM") - resident
        name = running.server.name
        rates[name] = mebibytes / result["seconds"]
        table.row(name).add(rate=rates[name], cpu_ms=cpu_ms, growth=max(0, growth) / 2**20)
        say(f"  {name:<28}{rates[name]:>8,.0f} MiB/s {cpu_ms:>8,.0f} ms CPU, RSS +{growth / 2**20:.1f} MiB")
    for name, rate in rates.items():
        table.row(name).add(share=rate / rates["native hyper, proxy"])


def send(running: Running, mebibytes: int, *options: str) -> dict:
    command = [sys.executable, str(CLIENT), str(running.port), str(mebibytes), *options]
    what = f"streaming through {running.server.name}"
    result = json.loads(process.output(what, command, CLIENT_CPU, CLIENT_SECONDS_MAX))
    if result["bytes"] != mebibytes * 2**20:
        raise Failed(f"{running.server.name} sent back {result['bytes']} bytes of {mebibytes} MiB")
    return result
