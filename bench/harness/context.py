"""What every scenario needs: where things are, how long to measure, and a place to say how it goes."""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
CACHE = BENCH / ".cache"
LOGS = CACHE / "logs"
GUESTS = ROOT / "guests" / "built"

T = TypeVar("T")

# Where the server runs, and where the load generator.
SERVER_CPU, CLIENT_CPU = 0, 1


@dataclass
class Effort:
    """How much is measured. Medians of interleaved rounds: more rounds, less noise."""

    rounds: int
    seconds: int
    warm_seconds: int
    # Warm up before each measurement, not only before the first of a server.
    warm_always: bool
    starts: int
    # Loaded idle apps; ordinary guests, of which each takes more, a tenth.
    apps: int
    stream_mebibytes: int
    stream_rounds: int


QUICK = Effort(
    rounds=2,
    seconds=1,
    warm_seconds=1,
    warm_always=False,
    starts=10,
    apps=1_000,
    stream_mebibytes=100,
    stream_rounds=2,
)
FULL = Effort(
    rounds=6,
    seconds=5,
    warm_seconds=1,
    warm_always=True,
    starts=30,
    apps=10_000,
    stream_mebibytes=100,
    stream_rounds=8,
)


@dataclass
class Context:
    """One run of the harness."""

    effort: Effort
    # The directory of the build under test: target/dist, or what stands in for it.
    build: Path
    javascript: Path | None
    # No new round begins after this moment (time.monotonic).
    deadline: float

    @property
    def shoal(self) -> str:
        return str(self.build / "shoal")

    def example(self, name: str) -> str:
        return str(self.build / "examples" / name)

    def peer(self, name: str) -> str:
        """A peer's binary: the one that setup.sh fetched, else the one on the path."""
        fetched = CACHE / "bin" / name
        return str(fetched) if fetched.exists() else name

    @property
    def cpus(self) -> tuple[int, int]:
        return SERVER_CPU, CLIENT_CPU

    @property
    def data_dir(self) -> str:
        """Where the binary under test keeps what it compiled: its own directory for each build."""
        return str(CACHE / f"data-{self.build.name}")

    def out_of_time(self) -> bool:
        return time.monotonic() >= self.deadline

    def rounds(self, count: int, contestants: list[T]) -> Iterator[list[T]]:
        """The contestants once for each round, from the first and from the last by turns; the first round always, and no
        further one when time is up."""
        for number in range(count):
            if number > 0 and self.out_of_time():
                say(f"  out of time after {number} rounds")
                return
            yield contestants if number % 2 == 0 else contestants[::-1]


def say(text: str = "") -> None:
    """Talk goes to standard error, the report to standard output."""
    print(text, file=sys.stderr, flush=True)


def environment(context: Context) -> dict[str, str]:
    """For every process of the build under test: nothing of the caller's settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SHOAL_")}
    return {**kept, "SHOAL_DATA_DIR": context.data_dir}
