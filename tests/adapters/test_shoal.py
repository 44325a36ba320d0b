"""Tests of the adapter: `python3 -m unittest discover tests/adapters`. Those that run a guest need SHOAL to name a binary."""

import os
import pathlib
import re
import signal
import subprocess
import unittest
import urllib.request

import shoal

GUESTS = pathlib.Path(__file__).resolve().parents[2] / "guests" / "built"
COMMAND = "wasi:cli/command"
SERVICE = "wasi:http/service"

# Seconds that a guest may take: a debug build compiles on first use.
DEADLINE = 60


class Argv(unittest.TestCase):
    """What is asked of the command line."""

    def argv(self, arguments, environment, directories, world=COMMAND):
        given = (arguments, environment, directories)
        argv = shoal.compute_argv("/suite/test.wasm", given, [], world, "wasm32-wasip1")
        start = len(shoal.SHOAL)
        self.assertEqual(argv[start:start + 2], ["run", "/suite/test.wasm"])
        rest = argv[start + 2:]
        self.assertEqual(rest[:len(shoal.NETWORK)], shoal.NETWORK)
        return rest[len(shoal.NETWORK):]

    def test_arguments_come_last_and_may_look_like_flags(self):
        self.assertEqual(self.argv(["--listen", "x"], {"A": "b=c"}, None), ["--env", "A=b=c", "--", "--listen", "x"])

    def test_a_root_is_one_directory(self):
        self.assertEqual(self.argv([], {}, "/suite/fs"), ["--dir", "/suite/fs:/", "--"])

    def test_pairs_are_directories_with_absolute_guest_paths(self):
        pairs = [(pathlib.Path("/suite/fs.dir"), "fs.dir"), (pathlib.Path("/tmp"), "/t")]
        self.assertEqual(self.argv([], {}, pairs), ["--dir", "/suite/fs.dir:/fs.dir", "--dir", "/tmp:/t", "--"])

    def test_a_service_listens_where_the_system_likes(self):
        self.assertEqual(self.argv([], {}, None, SERVICE), ["--listen", "127.0.0.1:0", "--drain", "1s", "--"])


@unittest.skipUnless(os.getenv("SHOAL"), "SHOAL names no binary")
class Guests(unittest.TestCase):
    """What the suite relies on, shown with guests of our own."""

    def argv(self, guest, world, arguments=(), environment=None):
        given = (list(arguments), environment or {}, None)
        return shoal.compute_argv(str(GUESTS / f"{guest}.wasm"), given, [], world, "")

    def test_the_version_is_a_number(self):
        self.assertRegex(shoal.get_version(), r"^\d+\.\d+\.\d+")

    def test_a_command_gets_its_arguments_and_environment_and_its_code_comes_back(self):
        for guest in ["cli", "cli-p3"]:
            with self.subTest(guest):
                argv = self.argv(guest, COMMAND, ["13", "two"], {"NAME": "value"})
                done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE)
                self.assertEqual(done.returncode, 13, done.stderr)
                self.assertIn('args: ["13", "two"]\nenv: NAME=value\n', done.stdout)

    def test_a_command_reads_stdin(self):
        argv = self.argv("cli", COMMAND, ["cat"])
        done = subprocess.run(argv, input="in and out", capture_output=True, text=True, timeout=DEADLINE)
        self.assertEqual((done.returncode, done.stdout), (0, "in and out"), done.stderr)

    def test_a_service_names_its_address_first_answers_and_stops_at_an_interrupt(self):
        argv = self.argv("hello-p3", SERVICE)
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as server:
            try:
                line = server.stderr.readline()
                address = re.search(r"http://\S+:\d+", line)
                self.assertIsNotNone(address, f"the first line on stderr is {line!r}")
                with urllib.request.urlopen(address.group(), timeout=DEADLINE) as answer:
                    self.assertEqual((answer.status, answer.read()), (200, b"Hello from Shoal\n"))
                server.send_signal(signal.SIGINT)
                self.assertEqual(server.wait(DEADLINE), 0)
            finally:
                server.kill()


if __name__ == "__main__":
    unittest.main()
