"""The server that is measured: how it is started, what the kernel says of it, and how a client reaches it."""

import base64
import http.client
import json
import re
import signal
import ssl
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlparse

from .process import cpu_of, status_bytes

START_SECONDS_MAX = 30
NAMESPACE = "bench"
JSON_BODY = {"Content-Type": "application/json"}


class Target:
    """A server, and what a client of it needs."""

    def __init__(self, url: str, kubeconfig: Path, pid: int | None):
        parsed = urlparse(url)
        self.host, self.port, self.pid = parsed.hostname, parsed.port or 443, pid
        text = kubeconfig.read_text()
        # It holds the key of an administrator: it goes when this object does.
        self.kept = tempfile.TemporaryDirectory(prefix="shoal-api-client.")
        self.dir = self.kept.name
        for name in ("certificate-authority", "client-certificate", "client-key"):
            data = re.search(rf"{name}-data: (\S+)", text)
            Path(self.dir, name).write_bytes(base64.b64decode(data.group(1)))

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=f"{self.dir}/certificate-authority")
        context.check_hostname = False
        context.load_cert_chain(f"{self.dir}/client-certificate", f"{self.dir}/client-key")
        return http.client.HTTPSConnection(self.host, self.port, context=context, timeout=120)

    def cpu_seconds(self) -> float:
        return float("nan") if self.pid is None else cpu_of(self.pid)

    def resident_mib(self) -> float:
        return float("nan") if self.pid is None else status_bytes(self.pid, "VmRSS") / 2**20


def start(binary: Path, data: Path, before: list | None = None) -> tuple[subprocess.Popen, Target]:
    """Starts a server in a new data directory and waits until it is ready; `before` goes before its command."""
    data.mkdir(exist_ok=True)
    log = open(data.with_suffix(".log"), "w")
    process = subprocess.Popen(
        [*(before or []), binary, "server", "--data-dir", data, "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    url = None
    for line in process.stderr:
        log.write(line)
        found = re.search(r"listens on (https://\S+)", line)
        if found:
            url = found.group(1)
            break
    if url is None:
        raise SystemExit("the server ended before it listened")
    threading.Thread(target=lambda: [log.write(line) for line in process.stderr], daemon=True).start()
    config = data / "kubeconfig"
    subprocess.run([binary, "kubeconfig", "--data-dir", data, "--server", url, "-o", config], check=True)
    target = Target(url, config, process.pid)
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if request(target.connect(), "GET", "/readyz")[0] == 200:
            return process, target
        time.sleep(0.005)
    raise SystemExit("the server was not ready in time")


def starts(binary: Path, work: Path, count: int) -> None:
    """From exec to a ready server in a new directory, and to a socket that listens in one that it knows."""
    new = []
    for index in range(count):
        begun = time.perf_counter()
        process, _ = start(binary, work / f"start-{index}")
        new.append((time.perf_counter() - begun) * 1000)
        end(process)
    row("start in a new directory, kubeconfig and first request included", f"{spread(new)} ms")
    again = [started_again(binary, work / "start-0") for _ in range(count)]
    row("start again, until it listens", f"{spread(again)} ms")


def started_again(binary: Path, data: Path) -> float:
    begun = time.perf_counter()
    process = subprocess.Popen(
        [binary, "server", "--data-dir", data, "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if "listens on" in line:
            break
    took = (time.perf_counter() - begun) * 1000
    end(process)
    return took


def end(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)


def request(connection, method, path, body=None, headers=None):
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def spread(times: list[float]) -> str:
    return f"{statistics.median(times):.1f} [{min(times):.1f}-{max(times):.1f}]"


# Everything that was told, in Markdown.
LINES: list[str] = []


def row(what: str, result: str) -> None:
    line(f"| {what} | {result} |")


def line(text: str) -> None:
    LINES.append(text)
    print(text, flush=True)


def make_namespace(target: Target) -> None:
    request(target.connect(), "POST", "/api/v1/namespaces", json.dumps({"metadata": {"name": NAMESPACE}}), JSON_BODY)
    time.sleep(1)


def stored_bytes(target: Target) -> int:
    """Of one ConfigMap of the bench, with all that the server adds."""
    return len(request(target.connect(), "GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/c1")[1])
