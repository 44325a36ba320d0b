"""From the start of a process to its first line and to its first byte, code compiled before."""

import os
import select
import socket
import subprocess
import time

from .. import process, servers
from ..context import GUESTS, SERVER_CPU, Context, say
from ..process import Failed, Server
from ..table import Column, Table

START_SECONDS_MAX = 90
# Between two attempts to connect, for a server that does not say that it listens.
POLL_SECONDS = 0.0005


def start(context: Context) -> list[Table]:
    """Processes started one after the other, in turns: the hello guest, the JavaScript component, and peers."""
    hello = GUESTS / "hello.wasm"
    contestants = [
        servers.shoal(context, hello, name="shoal, hello"),
        servers.wasmtime_serve(context, hello, "-Ccache=y", name="wasmtime serve, hello"),
        servers.node(),
        servers.workerd(context),
    ]
    if context.javascript and context.javascript.is_file():
        contestants.insert(1, servers.shoal(context, context.javascript, name="shoal, JavaScript component"))
    columns = [
        Column("line", "to the first line, p50 ms", 1),
        Column("byte", "to the first byte, p50 ms", 1),
    ]
    table = Table("start of a process, compiled before", columns, plot="byte")
    table.notes.append(
        "From the call that makes the process; pinned to one core. workerd prints nothing when it listens: the client tries "
        "to connect twice in a millisecond. Peers use their own caches of compiled code."
    )
    alive = [server for server in contestants if warm(server, table)]
    for order in context.rounds(context.effort.starts, alive):
        for server in order:
            line_ms, byte_ms = once(server)
            table.row(server.name).add(byte=byte_ms, **({"line": line_ms} if line_ms else {}))
    for row in table.rows:
        if row.samples:
            say(f"  {row.label:<30} first byte after {row.median('byte'):.1f} ms")
    return [table]


def warm(server: Server, table: Table) -> bool:
    """Compiles what is not compiled, and finds out whether the server starts at all."""
    row = table.row(server.name)
    try:
        once(server)
        return True
    except Failed as failure:
        say(f"  {failure}")
        row.note = "did not start"
        return False


def once(server: Server) -> tuple[float | None, float]:
    """Milliseconds to the first line (if there is one) and to the first byte of an answer."""
    port = process.free_port()
    command = [part.replace("{port}", str(port)) for part in server.command]
    began, child = spawn(server, command)
    try:
        line = first_line(child, port, began)
        return line, first_byte(server, child, port, began)
    finally:
        process.stop(child)
        child.stderr.close()


def spawn(server: Server, command: list[str]) -> tuple[float, subprocess.Popen]:
    """Starts on the server's core. The core is inherited, not set in the child: a hook there makes the start slow."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {SERVER_CPU})
    try:
        began = time.monotonic()
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **server.env},
            start_new_session=True,
        )
    except OSError as error:
        raise Failed(f"{server.name} cannot be started: {error}") from error
    finally:
        os.sched_setaffinity(0, own - {SERVER_CPU} or own)
    return began, child


def first_line(child: subprocess.Popen, port: int, began: float) -> float | None:
    """Waits for a line that says it listens, or for a connection to be taken by a server that says nothing."""
    while time.monotonic() - began < START_SECONDS_MAX and child.poll() is None:
        readable, _, _ = select.select([child.stderr], [], [], POLL_SECONDS)
        if readable:
            return (time.monotonic() - began) * 1e3 if os.read(child.stderr.fileno(), 4096) else None
        if accepts(port):
            return None
    raise Failed("a server did not start: it ended, or neither said a line nor took a connection")


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def first_byte(server: Server, child: subprocess.Popen, port: int, began: float) -> float:
    while time.monotonic() - began < START_SECONDS_MAX and child.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 30) as connection:
                connection.sendall(f"GET {server.path} HTTP/1.1\r\nhost: start.test\r\n\r\n".encode())
                answer = connection.recv(4096)
                after = (time.monotonic() - began) * 1e3
        except ConnectionRefusedError:
            time.sleep(POLL_SECONDS)
            continue
        if b" 200 " not in answer[:16]:
            raise Failed(f"{server.name} answered {answer[:40]!r}")
        return after
    raise Failed(f"{server.name} did not answer")
