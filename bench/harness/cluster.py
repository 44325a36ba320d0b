"""A cluster of one that is measured: `shoal up` in a directory of its own, what runs there, and clients of it."""

import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

from .api_target import Target, request
from .context import GUESTS, ROOT
from .process import free_port, pin

GUEST = GUESTS / "hello.wasm"
START_SECONDS_MAX = 60

COLLECTIONS = {
    "Deployment": "/apis/apps/v1/namespaces/default/deployments",
    "Service": "/api/v1/namespaces/default/services",
    "Ingress": "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
}


def find_binary() -> Path | None:
    """What is shipped, else what was built in bearable time."""
    builds = [ROOT / "target" / name / "shoal" for name in ("dist", "release")]
    return next((build for build in builds if build.is_file()), None)


class Cluster:
    """`shoal up` in a directory of its own. Its ports stay the same when it is started again."""

    def __init__(self, binary: Path, work: Path, *options: str, cpu: int | None = None):
        """With options of `shoal up`, on one core where one is named."""
        self.binary, self.work, self.log = binary, work, work / "log"
        self.options, self.cpu = options, cpu
        self.http, self.listen = ("127.0.0.1", free_port()), f"127.0.0.1:{free_port()}"
        self.kubeconfig = work / "data" / "kubeconfig"
        self.connection = None
        self.start()

    def start(self):
        """Starts it and waits until it says that it is ready; `started` is how many seconds that took."""
        line = [self.binary, "--data-dir", self.work / "data", "up", "--listen", self.listen]
        line += ["--http", f"127.0.0.1:{self.http[1]}", "--https", "127.0.0.1:0", *self.options]
        with self.log.open("w") as log:
            began = time.monotonic()
            self.process = subprocess.Popen(
                line, stderr=log, stdout=log, env=os.environ | {"NO_COLOR": "1"}, preexec_fn=pin(self.cpu)
            )
        try:
            wait_for(self.ready, START_SECONDS_MAX, "the cluster to be ready")
            self.started = time.monotonic() - began
            server = re.search(r"server: (\S+)", self.kubeconfig.read_text())[1]
            self.api, self.connection = Target(server, self.kubeconfig, self.process.pid), None
        except BaseException:
            self.kill()
            raise

    def kill(self):
        """Ends it as a power cut would, as far as the process goes."""
        self.process.kill()
        self.process.wait()

    def fate(self) -> str:
        """Whether it still runs, and what it said last."""
        code = self.process.poll()
        said = "\n".join(self.log.read_text().splitlines()[-40:])
        return f"{'still runs' if code is None else f'has ended with {code}'}; it said last:\n{said}"

    def ready(self):
        if self.process.poll() is not None:
            raise SystemExit(f"error: shoal up has ended:\n{self.log.read_text()}")
        return "hint: export" in self.log.read_text()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kubectl(self, *line, text: str | None = None) -> str:
        done = subprocess.run(["kubectl", *line], input=text, text=True, capture_output=True, env=self.env())
        if done.returncode:
            raise SystemExit(f"error: kubectl {' '.join(line)}: {done.stderr}")
        return done.stdout

    def env(self) -> dict[str, str]:
        return os.environ | {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.work)}

    def get(self, path: str):
        if self.connection is None:
            self.connection = self.api.connect()
        return json.loads(request(self.connection, "GET", path)[1])

    def answers(self, host: str) -> bool:
        connection = http.client.HTTPConnection(*self.http, timeout=5)
        try:
            connection.request("GET", "/", headers={"Host": host})
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def wait_for(ask, seconds: float, what: str, pause: float = 0.001):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := ask():
            return answer
        time.sleep(pause)
    raise SystemExit(f"error: waited {seconds} s for {what}")


def objects(name: str, replicas: int) -> list[dict]:
    """A Deployment, its Service and an Ingress for `NAME.example`."""
    container = {"name": "web", "image": f"file://{GUEST}", "ports": [{"containerPort": 80}]}
    backend = {"service": {"name": name, "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    deployment = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": deployment},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": labels, "ports": [{"port": 80}]}},
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": name},
            "spec": {"rules": [{"host": f"{name}.example", "http": {"paths": [path]}}]},
        },
    ]


def deployment(name: str, replicas: int) -> str:
    """The same as kubectl reads it."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects(name, replicas)})


def ready_replicas(cluster: Cluster, name: str) -> int:
    status = cluster.get(f"{COLLECTIONS['Deployment']}/{name}").get("status", {})
    return status.get("readyReplicas", 0)


class Load:
    """Clients that ask again and again on kept connections, and after `pause` seconds where one is given."""

    def __init__(self, cluster: Cluster, host: str, clients: int = 4, pause: float = 0):
        self.cluster, self.host, self.pause, self.ends = cluster, host, pause, threading.Event()
        self.answered, self.failed = [0] * clients, [0] * clients
        self.threads = [threading.Thread(target=self.ask, args=(index,)) for index in range(clients)]
        for thread in self.threads:
            thread.start()

    def ask(self, index: int):
        connection = http.client.HTTPConnection(*self.cluster.http, timeout=10)
        while not self.ends.wait(self.pause):
            try:
                connection.request("GET", "/", headers={"Host": self.host})
                answer = connection.getresponse()
                answer.read()
                good = answer.status == 200
            except (OSError, http.client.HTTPException):
                connection.close()
                time.sleep(0.01)
                good = False
            (self.answered if good else self.failed)[index] += 1

    def end(self) -> tuple[int, int]:
        self.ends.set()
        for thread in self.threads:
            thread.join()
        return sum(self.answered), sum(self.failed)
