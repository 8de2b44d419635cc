"""Textual's driver for Linux terminals, robust against invalid input, lost terminals and signals.

Textual's own ends the application at the first byte that is not UTF-8, spins at the end of its input, and does not
restore the terminal when a signal ends the process.
"""

from __future__ import annotations

import codecs
import os
import re
import select
import signal
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from rich.text import Text
from textual import events
from textual.drivers.linux_driver import LinuxDriver
from textual.keys import Keys
from textual.message import Message

from llmtui.tui.terminal import RESTORE_TITLE, SAVE_TITLE
from llmtui.tui.textual_internals import MODE_RESPONSE, MOUSE_EVENT, XTermParser

EXIT_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""Signals that end the workbench and restore the terminal, with the exit code a shell reports: 128 + number."""

EXIT_TIMEOUT = 10.0
"""Seconds for an orderly exit, which closes the inference process; after that the process exits at once."""

PARTIAL_TIMEOUT = 0.5
"""Seconds to wait for the rest of a UTF-8 character, within which a slow connection may pause."""

MAX_SIZE = 2000
"""Rows or columns; reports of a larger terminal are ignored."""

_X10 = re.compile(rb"\x1b\[M(...)", re.DOTALL)
_X10_PARTIAL = re.compile(rb"\x1b\[(?:M.{0,2})?\Z", re.DOTALL)
_STRING = re.compile(rb"\x1b[\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\)")
"""Replies of a terminal to queries of other programs: titles, colours, its name."""

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_MODIFIED = re.compile(r"\x1b\[27;(\d+);(\d+)~")
"""xterm's modifyOtherKeys, which tmux sends too: modifiers and key."""


def _windows_1252(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error("llmtui.windows-1252", _windows_1252)


class InputDecoder:
    """Decodes bytes from a terminal. Invalid UTF-8 is read as Windows-1252, which includes the letters of Latin-1."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("llmtui.windows-1252")
        self._held = b""
        self._last_input = 0.0

    def decode(self, data: bytes) -> str:
        """The text of `data`, without a partial character or mouse report at its end."""
        self._last_input = time.monotonic()
        data, self._held = self._held + data, b""
        if partial := _X10_PARTIAL.search(data):
            data, self._held = data[: partial.start()], partial[0]
        return self._decoder.decode(_STRING.sub(b"", _X10.sub(_to_sgr, data)))

    def flush(self) -> str:
        """The text that was held back, once no more input arrived for a while."""
        held, self._held = self._held, b""
        final = time.monotonic() - self._last_input > PARTIAL_TIMEOUT
        return self._decoder.decode(held, final=final) if held or final else ""


def _to_sgr(report: re.Match[bytes]) -> bytes:
    """An X10 mouse report, one byte each for buttons, column and row, as an SGR report, which Textual parses."""
    buttons, column, row = (byte - 32 for byte in report[1])
    if min(buttons, column - 1, row - 1) < 0:
        return b""
    released = buttons & 0b1100011 == 3
    return b"\x1b[<%d;%d;%d%c" % (buttons & ~3 if released else buttons, column, row, b"m" if released else b"M")


class PasteFilter:
    """Removes the escape characters inside a bracketed paste, such as the colours of a log.

    Textual's parser takes what follows them for keys, so that pasted text would stop runs.
    """

    START, END = "\x1b[200~", "\x1b[201~"

    def __init__(self) -> None:
        self._before = ""
        """The last characters outside of a paste, in which it may begin."""
        self._inside = False
        self._held = ""
        """Characters inside a paste that may begin its END."""

    def filter(self, text: str) -> str:
        """`text` for the parser."""
        return "".join(map(self._next, text))

    def _next(self, character: str) -> str:
        if not self._inside:
            self._before = (self._before + character)[-len(self.START) :]
            self._inside = self._before == self.START
            return character
        held = self._held + character
        if held == self.END:
            self._before, self._inside, self._held = "", False, ""
            return held
        if self.END.startswith(held):
            self._held = held
            return ""
        self._held = character if character == "\x1b" else ""
        return held.removesuffix(self._held).removeprefix("\x1b")


class InputParser(XTermParser):
    """Textual's parser with further keys; unknown sequences neither raise errors nor type their characters."""

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> list[events.Key]:
        if sequence in ("\x1b\r", "\x1b\n"):
            return [events.Key("alt+enter", None)]
        if modified := _MODIFIED.fullmatch(sequence):
            sequence = f"\x1b[{modified[2]};{modified[1]}u"
        try:
            keys = list(super()._sequence_to_key_events(sequence, alt=alt))
        except (ValueError, OverflowError):  # code points that are no character
            keys = []
        known = MOUSE_EVENT.match(sequence) or MODE_RESPONSE.match(sequence)
        if not keys and not known and _CONTROL.fullmatch(sequence):
            return [events.Key(Keys.Ignore, sequence)]  # else its characters would be typed
        return keys


class Traffic:
    """How many bytes the terminal was sent: counted in the writer thread, read in the event loop."""

    WINDOW = 60.0
    """Seconds for which single writes are remembered."""

    def __init__(self) -> None:
        self.total = 0
        self.started = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque()

    def add(self, count: int) -> None:
        """Count bytes that are sent now."""
        now = time.monotonic()
        self.total += count
        self._recent.append((now, count))
        while self._recent[0][0] < now - self.WINDOW:
            self._recent.popleft()

    def rate(self, seconds: float) -> float:
        """Bytes per second over the last `seconds`, at most WINDOW; since the start if that was later."""
        now = time.monotonic()
        seconds = min(seconds, max(now - self.started, 0.001))
        return sum(count for at, count in list(self._recent) if at >= now - seconds) / seconds


class TerminalOutput:
    """The file of Textual's writer thread. Never raises: `on_lost` is called once when the terminal is closed."""

    def __init__(self, descriptor: int, encoding: str, on_lost: Callable[[], None]) -> None:
        self.traffic = Traffic()
        self._descriptor, self._encoding, self._on_lost = descriptor, encoding, on_lost
        self._pending = b""
        self._closed = False

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> None:
        if not self._closed:
            self._pending += text.encode(self._encoding, "replace")
            if len(self._pending) > 2**16:
                self.flush()

    def flush(self) -> None:
        while self._pending and not self._closed:
            try:
                sent = os.write(self._descriptor, self._pending)
                self._pending = self._pending[sent:]
                self.traffic.add(sent)
            except BlockingIOError:  # another program that shares the terminal made it non-blocking
                select.select([], [self._descriptor], [], 1.0)
            except OSError:
                self._closed = True
                self._on_lost()


class TerminalDriver(LinuxDriver):
    """Textual's driver on the terminal of standard output."""

    def __init__(self, app: Any, **textual: Any) -> None:
        super().__init__(app, **textual)
        screen = cast(Any, sys.__stdout__)
        self._output = TerminalOutput(screen.fileno(), screen.encoding or "utf-8", self._on_hangup)
        self._file = cast(Any, self._output)
        self.traffic = self._output.traffic
        self._exiting = self._has_title = False
        for number in EXIT_SIGNALS:
            signal.signal(number, self._on_exit_signal)

    # -- input ----------------------------------------------------------------------------------------------------

    def _run_input_thread(self) -> None:
        try:
            self.run_input_thread()
        except Exception as error:
            self._loop.call_soon_threadsafe(self._app._handle_exception, error)

    def run_input_thread(self) -> None:
        """Read input until the driver stops or the terminal is closed."""
        parser: XTermParser = InputParser(self._debug)
        decoder, pastes = InputDecoder(), PasteFilter()
        while not self.exit_event.is_set():
            text = ""
            if select.select([self.fileno], [], [], 0.1)[0]:
                try:
                    data = os.read(self.fileno, 4096)
                except BlockingIOError:
                    continue
                except OSError:  # on Linux: the other end of the pseudo-terminal is closed
                    data = b""
                if not data:
                    self._on_hangup()
                    return
                text = decoder.decode(data)
            else:
                text = decoder.flush()
            for character in pastes.filter(text):
                parser = self._parse(parser, character)
            parser = self._parse(parser, "")

    def _parse(self, parser: XTermParser, character: str) -> XTermParser:
        """Feed one character, or a timer tick for an empty one; returns the parser to use next."""
        try:
            for message in parser.feed(character) if character else parser.tick():
                self.process_message(message)
        except Exception:  # drop the invalid sequence together with the state of the parser
            return InputParser(self._debug)
        return parser

    def process_message(self, message: Message) -> None:
        """Post a message. Raises ValueError for an invalid terminal size."""
        if isinstance(message, events.Resize) and not (
            0 < message.size.width <= MAX_SIZE and 0 < message.size.height <= MAX_SIZE
        ):
            raise ValueError(message.size)
        super().process_message(message)

    # -- output ---------------------------------------------------------------------------------------------------

    @property
    def _is_running(self) -> bool:
        return self._writer_thread is not None and self._writer_thread.is_alive()

    def write(self, data: str) -> None:
        """Write `data`; dropped while the application is suspended, when no thread empties the queue."""
        if self._is_running:
            self._has_title = self._has_title or data.startswith(SAVE_TITLE)
            super().write(data)

    def stop_application_mode(self) -> None:
        """Give the terminal back as it was, with its title."""
        if self._has_title:
            self.write(RESTORE_TITLE)
            self._has_title = False
        super().stop_application_mode()

    # -- exit ---------------------------------------------------------------------------------------------------

    def _on_exit_signal(self, number: int, _frame: object) -> None:
        if self._exiting:
            return
        message = None if number == signal.SIGHUP else f"llmtui: ended by {signal.Signals(number).name}; runs continue"
        try:
            self._loop.call_soon_threadsafe(self._exit, number, message)
        except RuntimeError:  # the event loop has ended already
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _on_hangup(self) -> None:
        if not self._exiting:
            self._loop.call_soon_threadsafe(self._exit, signal.SIGHUP, None)

    def _exit(self, number: int, message: str | None) -> None:
        """Exit the application; after EXIT_TIMEOUT exit the process."""
        if self._exiting:
            return
        self._exiting = True
        timer = threading.Timer(EXIT_TIMEOUT, self._exit_now, (128 + number,))
        timer.daemon = True
        timer.start()
        self._app.exit(return_code=128 + number, message=Text(message) if message else None)

    def _exit_now(self, code: int) -> None:
        """Restore the terminal and exit at once: the event loop hangs, say because the terminal reads nothing."""
        try:
            if self.attrs_before is not None:
                termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)
            if select.select([], [self._output.fileno()], [], 0.5)[1]:
                os.write(self._output.fileno(), b"\x1b[?2004l\x1b[?1000l\x1b[?1003l\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?7h")
                if self._has_title:
                    os.write(self._output.fileno(), RESTORE_TITLE.encode())
        finally:
            os._exit(code)

    # -- suspend and continue -------------------------------------------------------------------------------

    # Both run in the event loop, not in the signal handler, which may interrupt code that holds a lock they need.

    def _sigtstp_application(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._suspend)

    def _sigcont_application(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._continue)

    def _suspend(self) -> None:
        if self._is_running:
            self.suspend_application_mode()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _continue(self) -> None:
        if self._exiting:
            return
        if self._is_running:  # stopped by SIGSTOP, unhandled: the shell changed the terminal settings
            self.suspend_application_mode()
        self.resume_application_mode()
        if self._is_running:
            self._app.refresh(layout=True)
            self._app.screen.refresh(layout=True)
