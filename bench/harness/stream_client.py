"""Sends a body to a server and reads it back at the same time. Run as a program: PORT MEBIBYTES [check].

Prints one JSON line: the seconds from the first byte sent to the last byte read, and the bytes read. With `check`
the bytes that come back are compared with those sent, by checksum, which costs time of its own.
"""

import json
import os
import socket
import sys
import threading
import time
import zlib

BLOCK_BYTES = 1 << 20
# A stream that stands still for this long has failed.
STALL_SECONDS = 30


class Chunks:
    """Takes the framing off a chunked body, or passes a body of known length; counts, and sums up where asked."""

    def __init__(self, length: int | None, check: bool):
        self.left = length if length is not None else 0
        self.chunked = length is None
        self.check = check
        self.waiting = b""
        self.count = 0
        self.sum = 0
        self.ended = False

    def take(self, data: memoryview) -> None:
        if not self.chunked:
            self.body(data)
            self.left -= len(data)
            self.ended = self.left <= 0
            return
        while len(data) and not self.ended:
            if self.left > 0:
                part = data[: self.left]
                self.body(part)
                self.left -= len(part)
                data = data[len(part) :]
            else:
                data = self.head(data)

    def head(self, data: memoryview) -> memoryview:
        """Reads the line that announces a chunk; the empty line after a chunk is skipped."""
        have = self.waiting + bytes(data[:64])
        line, end, _ = have.partition(b"\r\n")
        if not end:
            self.waiting += bytes(data)
            return data[len(data) :]
        used = len(line) + 2 - len(self.waiting)
        self.waiting = b""
        if line:
            self.left = int(line.split(b";")[0], 16)
            self.ended = self.left == 0
        return data[used:]

    def body(self, part: memoryview) -> None:
        self.count += len(part)
        if self.check:
            self.sum = zlib.crc32(part, self.sum)


def main() -> None:
    port, mebibytes, check = int(sys.argv[1]), int(sys.argv[2]), "check" in sys.argv[3:]
    block = os.urandom(BLOCK_BYTES)
    total = mebibytes * BLOCK_BYTES
    connection = socket.create_connection(("127.0.0.1", port), STALL_SECONDS)
    head = f"POST /stream HTTP/1.1\r\nhost: stream.test\r\ncontent-length: {total}\r\n\r\n"
    began = time.monotonic()
    connection.sendall(head.encode())
    sender = threading.Thread(target=lambda: [connection.sendall(block) for _ in range(mebibytes)], daemon=True)
    sender.start()
    chunks = receive(connection, check)
    seconds = time.monotonic() - began
    expected = 0
    if check:
        for _ in range(mebibytes):
            expected = zlib.crc32(block, expected)
    whole = chunks.count == total and chunks.sum == expected
    print(json.dumps({"seconds": seconds, "bytes": chunks.count, "whole": whole}))


def receive(connection: socket.socket, check: bool) -> Chunks:
    buffer = bytearray(BLOCK_BYTES)
    head = b""
    while b"\r\n\r\n" not in head:
        read = connection.recv(65536)
        if not read:
            raise SystemExit("the server closed the connection before its answer")
        head += read
    head, _, rest = head.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    if " 200" not in lines[0]:
        raise SystemExit(f"the server answered {lines[0]}")
    lengths = [int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")]
    chunks = Chunks(lengths[0] if lengths else None, check)
    if rest:
        chunks.take(memoryview(rest))
    while not chunks.ended:
        read = connection.recv_into(buffer)
        if read == 0:
            break
        chunks.take(memoryview(buffer)[:read])
    return chunks


if __name__ == "__main__":
    main()
