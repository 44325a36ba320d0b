"""Sends requests at a fixed rate and takes their latency from the moment each was due.

Run as a program: PORT PATH RATE SECONDS. A server that stalls is charged for every request that became due meanwhile,
which a load generator that waits for answers would never send. Prints one JSON line, times in microseconds.
"""

import json
import selectors
import socket
import sys
import time

# Requests that can be on their way at once; more than that wait here, and their wait counts.
CONNECTIONS = 16
# The selector's clock is too coarse for the last part of a wait: that is spent asking. The client has its own core.
SPIN_SECONDS = 0.002
# After this long without an answer the server has failed.
STALL_SECONDS = 20
# How long answers to the last requests are waited for.
LAST_SECONDS = 20


class Connection:
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), STALL_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.data = b""

    def send(self, request: bytes, due: float) -> None:
        self.due, self.data = due, b""
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Reads what is there; true when the answer is whole (it has a length, or comes in chunks)."""
        read = self.socket.recv(65536)
        if not read:
            raise SystemExit("the server closed a connection")
        self.data += read
        head, end, body = self.data.partition(b"\r\n\r\n")
        if not end:
            return False
        if b" 200 " not in head[:16]:
            raise SystemExit(f"the server answered {head[:40]!r}")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return len(body) >= int(line.partition(b":")[2])
        return body.endswith(b"0\r\n\r\n")


def main() -> None:
    port, path, rate, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    request = f"GET {path} HTTP/1.1\r\nhost: paced.test\r\n\r\n".encode()
    latencies = sorted(paced(port, request, rate, int(rate * seconds)))
    if not latencies:
        raise SystemExit("no request was answered")
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    figures = {name: latencies[int((len(latencies) - 1) * share)] for name, share in shares.items()}
    print(json.dumps({"answered": len(latencies), **figures}))


def paced(port: int, request: bytes, rate: float, total: int) -> list[float]:
    """Latencies in microseconds; a request that is never answered ends the program."""
    selector = selectors.DefaultSelector()
    free = [Connection(port) for _ in range(CONNECTIONS)]
    for connection in free:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    latencies: list[float] = []
    began, sent = time.monotonic(), 0
    last = began + total / rate + LAST_SECONDS
    while len(latencies) < total:
        now = time.monotonic()
        if now > last:
            raise SystemExit(f"{total - len(latencies)} of {total} requests were not answered")
        while sent < total and free and began + sent / rate <= now:
            free.pop().send(request, began + sent / rate)
            sent += 1
        wait = began + sent / rate - time.monotonic() if sent < total and free else 1.0
        for key, _ in selector.select(max(0.0, wait - SPIN_SECONDS)):
            connection = key.data
            if connection.receive():
                latencies.append((time.monotonic() - connection.due) * 1e6)
                free.append(connection)
    return latencies


if __name__ == "__main__":
    main()
