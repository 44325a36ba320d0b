"""Servers as child processes: pinned, waited for, measured through /proc, and ended by their own process id."""

import http.client
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# A JavaScript component that is compiled at start takes some 20 s of CPU time.
READY_SECONDS_MAX = 90
# After SIGTERM; then SIGKILL.
STOP_SECONDS_MAX = 5


class Failed(Exception):
    """A server did not start or did not answer; the message says which and what it printed."""


@dataclass
class Server:
    """How to start one server. `{port}` in the command is replaced by a free port."""

    name: str
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    # What answers with 200 when the server is ready.
    path: str = "/"
    # The host that is asked for; empty: that of the address.
    host: str = ""


@dataclass
class Running:
    """A started server."""

    server: Server
    process: subprocess.Popen
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.server.path}"

    def cpu_seconds(self) -> float:
        """User and system time of the process and everything below it, ended children included."""
        return sum(cpu_of(pid) for pid in family(self.process.pid))

    def memory_bytes(self) -> dict[str, int]:
        """Resident memory of the process and everything below it: all, and what is not backed by a file."""
        total = {"rss": 0, "anonymous": 0}
        for pid in family(self.process.pid):
            for key, name in (("rss", "VmRSS"), ("anonymous", "RssAnon")):
                total[key] += status_bytes(pid, name)
        return total

    def stop(self) -> None:
        stop(self.process)


def output(
    what: str, command: list[str], cpu: int | None, seconds: float, env: dict[str, str] | None = None, install: str = ""
) -> str:
    """Runs a program to its end on one core and returns what it printed. `install` says how to get it."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=env,
            preexec_fn=pin(cpu),
        )
    except FileNotFoundError as error:
        raise Failed(f"{what}: {command[0]} is not there{'; ' if install else ''}{install}") from error
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{what} did not end in {seconds:.0f} s") from error
    if done.returncode != 0:
        raise Failed(f"{what} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def start(server: Server, cpu: int | None, logs: Path) -> Running:
    """Starts a server on one core and waits until it answers."""
    running = launch(server, cpu, logs)
    try:
        wait_until_ready(running)
    except Failed:
        running.stop()
        raise
    return running


def launch(server: Server, cpu: int | None, logs: Path) -> Running:
    """Starts a server on one core and does not wait."""
    port = free_port()
    command = [part.replace("{port}", str(port)) for part in server.command]
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / (server.name.replace(" ", "-").replace("/", "-") + ".log")
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **server.env},
                start_new_session=True,
                preexec_fn=pin(cpu),
            )
        except OSError as error:
            raise Failed(f"{server.name} cannot be started: {error}") from error
    return Running(server, process, port, log)


def pin(cpu: int | None):
    """What a child does before it becomes the server; none: it may run anywhere."""
    return None if cpu is None else lambda: os.sched_setaffinity(0, {cpu})


def wait_until_ready(running: Running) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    said = "nothing"
    while time.monotonic() < deadline:
        if running.process.poll() is not None:
            said = f"it ended with {running.process.returncode}"
            break
        try:
            status, body = get(running.port, running.server.path, running.server.host)
        except (OSError, http.client.HTTPException) as error:
            said = str(error)
        else:
            if status == 200 and body:
                return
            said = f"status {status}, {len(body)} bytes"
        time.sleep(0.02)
    printed = running.log.read_text(errors="replace").strip().splitlines()[-5:]
    raise Failed(f"{running.server.name} does not answer ({said}): " + " | ".join(printed))


def wait_until_accepting(running: Running) -> None:
    """Waits until the server takes connections, for one that does not answer a plain GET with a body."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline and running.process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", running.port), 5).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Failed(f"{running.server.name} takes no connections: {running.log.read_text(errors='replace').strip()[-300:]}")


def get(port: int, path: str, host: str = "") -> tuple[int, bytes]:
    """One request on a connection of its own: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Host": host} if host else {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def stop(process: subprocess.Popen) -> None:
    """Ends a child that leads a session of its own, and what it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def family(root: int) -> list[int]:
    """A process and everything below it that is alive."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat_fields(int(entry))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, open_list = [], [root]
    while open_list:
        pid = open_list.pop()
        found.append(pid)
        open_list.extend(children.get(pid, []))
    return found


def cpu_of(pid: int) -> float:
    """utime, stime and those of ended children, in seconds."""
    fields = stat_fields(pid)
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS_PER_SECOND if fields else 0.0


def stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from the state on (field 3 of proc(5) has index 0); empty when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def status_bytes(pid: int, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


def reset_peak(pid: int) -> None:
    """Makes the peak of resident memory (VmHWM) begin again, see proc(5) on clear_refs."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def core_busy_seconds(cpu: int) -> float:
    """User, nice and system time of everything on one core since the start of the machine."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{cpu} "):
            return sum(int(ticks) for ticks in line.split()[1:4]) / TICKS_PER_SECOND
    return 0.0
