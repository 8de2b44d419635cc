"""The real program in a pseudo-terminal, its output counted and drawn by a terminal emulator."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil
import pyte


class Terminal:
    """A program on a terminal of `columns` x `rows`. Use as a context manager, which ends the program."""

    def __init__(self, command: Sequence[str], columns: int = 80, rows: int = 24) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.last = b""
        """The newest 4 KiB that the program wrote."""
        self.read_at = 0.0
        """When it was read (`time.perf_counter`)."""
        self.listener: Callable[[bytes], object] = lambda _: None
        """Called with everything that it writes."""
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        env = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        for name in ("NO_COLOR", "COLUMNS", "LINES"):  # a size set there overrides that of the terminal
            env.pop(name, None)
        self.began = time.perf_counter()
        self._process = subprocess.Popen(
            command, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def read(self, seconds: float) -> int:
        """Wait at most `seconds` for the program to write something; how many bytes it did. Raises EOFError."""
        if not select.select([self._master], [], [], max(0.0, seconds))[0]:
            return 0
        data = b""
        with contextlib.suppress(OSError):  # how Linux says that the program has ended
            data = os.read(self._master, 2**20)
        self.read_at = time.perf_counter()
        if not data:
            raise EOFError("the program has ended; the screen shows\n" + "\n".join(self.screen.display).rstrip())
        self.listener(data)
        self._stream.feed(data)
        self.last = (self.last + data)[-4096:]
        return len(data)

    def send(self, keys: str | bytes) -> None:
        """Type `keys`."""
        os.write(self._master, keys.encode() if isinstance(keys, str) else keys)

    def signal(self, number: int) -> None:
        """Send the program a signal."""
        self._process.send_signal(number)

    def settings(self) -> list[Any]:
        """The terminal's settings, as of termios."""
        return termios.tcgetattr(self._master)

    def hang_up(self) -> None:
        """Close the terminal under the program."""
        os.close(self._master)
        self._master = os.open(os.devnull, os.O_RDWR)

    def wait_for(self, text: str = "", seconds: float = 300.0) -> float:
        """Wait at most `seconds` until `text`, or anything at all, stands on the screen; seconds since the start.

        Raises TimeoutError, EOFError.
        """
        deadline = time.perf_counter() + seconds
        while not any(text in line and line.strip() for line in self.screen.display):
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{text!r} never came; the screen shows\n" + "\n".join(self.screen.display).rstrip())
            self.read(0.1)
        return time.perf_counter() - self.began

    def settle(self, quiet: float = 0.3) -> None:
        """Wait until the program has written nothing for `quiet` seconds: keys sent sooner may overtake a focus."""
        while self.read(quiet):
            pass

    def wait_for_end(self, seconds: float = 300.0) -> int:
        """The program's exit code, once it has ended by itself. Raises subprocess.TimeoutExpired."""
        deadline = time.perf_counter() + seconds
        with contextlib.suppress(EOFError):
            while time.perf_counter() < deadline:
                self.read(0.1)
        return self._process.wait(max(0.1, deadline - time.perf_counter()))

    def wait_for_exit(self, seconds: float = 300.0) -> int:
        """The program's exit code, whatever it writes or cannot write any more. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def wait_until_stopped(self, seconds: float = 300.0) -> None:
        """Wait until the program is stopped as by SIGSTOP. Raises TimeoutError."""
        deadline = time.perf_counter() + seconds
        while psutil.Process(self._process.pid).status() != psutil.STATUS_STOPPED:
            if time.perf_counter() > deadline:
                raise TimeoutError("it does not end")
            self.read(0.05)

    def watch(self, seconds: float) -> tuple[int, float]:
        """Bytes the program writes and seconds of processor time it takes during `seconds`."""
        process = psutil.Process(self._process.pid)
        before, written, end = process.cpu_times(), 0, time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            written += self.read(left)
        after = process.cpu_times()
        return written, after.user + after.system - before.user - before.system
