"""One measurement: wrk against a running server, with the server's CPU time around it."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from . import process
from .process import Failed, Running

WRK_SCRIPT = Path(__file__).with_name("wrk.lua")
# wrk ends a little after its duration; this much later something is stuck.
WRK_GRACE_SECONDS = 30


@dataclass
class Sample:
    """What one run of the load generator saw, and what the server used meanwhile."""

    rps: float
    cpu_us: float
    p50_us: float
    p99_us: float
    errors: int
    rss_bytes: int
    # Share of the server's core that was taken by anything else.
    disturbed: float


def measure(running: Running, connections: int, seconds: float, warm_seconds: float, cpus: tuple[int, int]) -> Sample:
    """Warms a server up and measures it. `cpus`: the server's core and the load generator's."""
    if warm_seconds > 0:
        wrk(running.url, connections, warm_seconds, cpus[1], running.server.host)
    if running.process.poll() is not None:
        raise Failed(f"{running.server.name} ended with {running.process.returncode}")
    before, busy_before, began = running.cpu_seconds(), process.core_busy_seconds(cpus[0]), time.monotonic()
    result = wrk(running.url, connections, seconds, cpus[1], running.server.host)
    elapsed = time.monotonic() - began
    used, busy = running.cpu_seconds() - before, process.core_busy_seconds(cpus[0]) - busy_before
    requests = result["requests"]
    if requests == 0:
        raise Failed(f"{running.server.name} answered nothing for {seconds} s")
    return Sample(
        rps=requests / (result["duration_us"] / 1e6),
        cpu_us=used * 1e6 / requests,
        p50_us=result["p50_us"],
        p99_us=result["p99_us"],
        errors=result["errors"],
        rss_bytes=running.memory_bytes()["rss"],
        disturbed=max(0.0, busy - used) / elapsed,
    )


def wrk(url: str, connections: int, seconds: float, cpu: int, host: str = "") -> dict:
    """Runs wrk on one core with one thread. `host` is asked for, if given, in place of that of the URL."""
    # wrk takes whole seconds.
    whole = max(1, round(seconds))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{whole}s", "--timeout", "20s", "-s", str(WRK_SCRIPT)]
    command += ["-H", f"Host: {host}", url] if host else [url]
    printed = process.output(f"wrk of {url}", command, cpu, whole + WRK_GRACE_SECONDS, install="bench/setup.sh installs it")
    for line in printed.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    raise Failed(f"wrk of {url} gave no result: {printed.strip()[-300:]}")
