"""Whether something grows over a long time: samples of a process, and medians of the thirds of a run."""

import os
import statistics

from .process import status_bytes


def of_process(pid: int) -> dict[str, int]:
    """Anonymous memory in bytes, descriptors and threads of one process. Raises OSError when it is gone."""
    return {
        "fds": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": len(os.listdir(f"/proc/{pid}/task")),
        "anon": status_bytes(pid, "RssAnon"),
    }


def thirds(samples: list[dict], name: str) -> list[float]:
    """The medians of a value in the first, second and last third of the samples; empty when there are too few."""
    third = len(samples) // 3
    parts = [samples[:third], samples[third:-third], samples[-third:]] if third else []
    return [statistics.median(sample[name] for sample in part) for part in parts]
