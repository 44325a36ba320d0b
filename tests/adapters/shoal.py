"""Runs the tests of WebAssembly/wasi-testsuite on Shoal.

    ./run-tests --runtime-adapter SHOAL_REPOSITORY/tests/adapters/shoal.py

The environment variable SHOAL names the binary, with further words of its own if need be; `shoal` from the path otherwise.
"""

import os
import re
import shlex
import subprocess
from typing import Dict, List, Sequence, Tuple, Union

SHOAL = shlex.split(os.getenv("SHOAL", "shoal"))

# What a test may reach. The suite brings its own servers and clients, on ports that the system picks; so it gets
# everything, except for what the host never gives: a pattern without an address reaches public addresses only, so the
# networks are named as well.
NETWORK = [
    "--allow-outbound", "*://*:*",
    "--allow-outbound", "*://0.0.0.0/0:*",
    "--allow-outbound", "*://[::/0]:*",
    "--allow-listen", "0",
]

# A directory for the guest: a path on the host that becomes the root (newer suites), or pairs of host and guest paths.
Directories = Union[None, str, os.PathLike, Sequence[Tuple[os.PathLike, str]]]


def get_name() -> str:
    return "shoal"


def get_version() -> str:
    said = subprocess.run(SHOAL + ["version"], encoding="UTF-8", capture_output=True, check=True).stdout
    number = re.search(r"\d+\.\d+\.\d+\S*", said)
    if number is None:
        raise ValueError(f"`shoal version` printed no version: {said!r}")
    return number.group()


def get_wasi_versions() -> List[str]:
    return ["wasm32-wasip1", "wasm32-wasip3"]


def get_wasi_worlds() -> List[str]:
    return ["wasi:cli/command", "wasi:http/service"]


def get_timeout_seconds() -> float:
    # The first run of a component compiles it, which takes a while in a debug build; later runs find it in the cache.
    return 60


def compute_argv(
    test_path: str,
    args_env_directories: Tuple[List[str], Dict[str, str], Directories],
    proposals: List[str],
    wasi_world: str,
    wasi_version: str,
) -> List[str]:
    del proposals, wasi_version  # what the file exports decides how it runs
    arguments, environment, directories = args_env_directories

    argv = SHOAL + ["run", str(test_path)] + NETWORK
    for name, value in environment.items():
        argv += ["--env", f"{name}={value}"]
    for host, guest in pairs_of(directories):
        argv += ["--dir", f"{host}:{guest}"]
    if wasi_world == "wasi:http/service":
        # The suite reads the address from the first line on stderr, and stops the server with an interrupt.
        argv += ["--listen", "127.0.0.1:0", "--drain", "1s"]
    return argv + ["--"] + list(arguments)


def pairs_of(directories: Directories) -> List[Tuple[str, str]]:
    """Host paths and absolute guest paths; a relative guest path is below the root, which is where guests start."""
    if not directories:
        return []
    if isinstance(directories, (str, os.PathLike)):
        return [(str(directories), "/")]
    return [(str(host), guest if guest.startswith("/") else f"/{guest}") for host, guest in directories]
