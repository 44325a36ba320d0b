"""The load generator of the baselines: 16 Python processes, each with one HTTP/1.1 connection over TLS and a client
certificate, on the same cores as the server. With it figures can be compared with those of kube-apiserver."""

import json
import multiprocessing
import threading
import time

from .api_target import JSON_BODY, NAMESPACE, Target, request, row, spread

CONNECTIONS = 16
# As large as the objects of the figures that these are compared with: 640 bytes each.
VALUE = "x" * 330


def measure(target: Target, objects: int) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    burst(target, "create", objects)
    burst(target, "get", objects * 2)
    burst(target, "update", objects // 2)
    lists(target, path)
    watchers(target, path, 100, 200)
    burst(target, "delete", objects)
    # Those that were made for the watchers.
    connection = target.connect()
    for index in range(200):
        request(connection, "DELETE", f"{path}/w{index}")


def config_map(index: int, letter: str = "x") -> str:
    name = f"c{index}"
    return json.dumps({"metadata": {"name": name, "labels": {"app": "bench"}}, "data": {"value": letter + VALUE}})


def burst(target: Target, what: str, count: int) -> None:
    """So many operations from all connections, each one after the other on its connection."""
    begun = target.cpu_seconds()
    with multiprocessing.Pool(CONNECTIONS) as pool:
        barrier = time.time() + 0.5
        results = pool.starmap(worker, [(target, count, number, what, barrier) for number in range(CONNECTIONS)])
    took = max(end for _, end in results) - barrier
    cpu = target.cpu_seconds() - begun
    times = sorted(one for part, _ in results for one in part)
    p50, p99 = times[len(times) // 2] * 1000, times[int(len(times) * 0.99)] * 1000
    row(f"Python: {what} ConfigMap, {CONNECTIONS} connections", f"{count / took:,.0f}/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms, {cpu / count * 1000:.3f} ms CPU each")


def worker(target: Target, count: int, number: int, what: str, begin: float):
    connection = target.connect()
    request(connection, "GET", "/version")
    time.sleep(max(0.0, begin - time.time()))
    times = []
    for index in range(number, count, CONNECTIONS):
        call = operation(what, index, count)
        begun = time.perf_counter()
        status, body = request(connection, call[0], call[1], call[2], JSON_BODY if call[2] else None)
        times.append(time.perf_counter() - begun)
        if status >= 300:
            raise RuntimeError(f"{call[0]} {call[1]}: {status} {body[:300]}")
    return times, time.time()


def operation(what: str, index: int, count: int):
    """Method, path and body."""
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    match what:
        case "create":
            return "POST", path, config_map(index)
        case "get":
            return "GET", f"{path}/c{index % (count // 2)}", None
        case "update":
            return "PUT", f"{path}/c{index}", config_map(index, "y")
        case _:
            return "DELETE", f"{path}/c{index}", None


def lists(target: Target, path: str) -> None:
    forms = [
        ("list all", path, {}),
        ("list, 500 a page: the first", f"{path}?limit=500", {}),
        ("list as Table", path, {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}),
        ("list as protobuf", path, {"Accept": "application/vnd.kubernetes.protobuf"}),
        ("list by label", f"{path}?labelSelector=app%3Dbench", {}),
    ]
    connection = target.connect()
    for name, url, headers in forms:
        times, size, begun = [], 0, target.cpu_seconds()
        for _ in range(9):
            start_at = time.perf_counter()
            size = len(request(connection, "GET", url, headers=headers)[1])
            times.append((time.perf_counter() - start_at) * 1000)
        cpu = (target.cpu_seconds() - begun) / 9 * 1000
        row(f"Python: {name} ({size / 1e6:.2f} MB)", f"{spread(times)} ms, {cpu:.1f} ms CPU")


def watchers(target: Target, path: str, count: int, events: int) -> None:
    """How long after the request for a change each watcher has it. The change itself is in the time."""
    sent, got, lock, ready = {}, [], threading.Lock(), threading.Barrier(count + 1)

    def follow():
        connection = target.connect()
        connection.request("GET", f"{path}?watch=true&resourceVersion={version}&timeoutSeconds=60")
        answer = connection.getresponse()
        ready.wait()
        seen = 0
        while seen < events:
            line = answer.readline()
            if not line:
                break
            now = time.perf_counter()
            name = json.loads(line)["object"]["metadata"]["name"]
            if name.startswith("w"):
                seen += 1
                with lock:
                    got.append((name, now))

    connection = target.connect()
    version = json.loads(request(connection, "GET", f"{path}?limit=1")[1])["metadata"]["resourceVersion"]
    threads = [threading.Thread(target=follow) for _ in range(count)]
    for thread in threads:
        thread.start()
    ready.wait()
    begun = target.cpu_seconds()
    for index in range(events):
        name = f"w{index}"
        sent[name] = time.perf_counter()
        request(connection, "POST", path, json.dumps({"metadata": {"name": name}}), JSON_BODY)
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    delays = sorted((now - sent[name]) * 1000 for name, now in got)
    cpu = target.cpu_seconds() - begun
    row(
        f"Python: {events} changes to {count} watchers",
        f"{len(got):,} of {events * count:,} received, p50 {delays[len(delays) // 2]:.1f} ms, "
        f"p99 {delays[int(len(delays) * 0.99)]:.1f} ms, {cpu:.1f} s CPU",
    )
