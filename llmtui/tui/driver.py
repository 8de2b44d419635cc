"""The terminal: Textual's driver, kept alive through what terminals send and what the system does to them.

Textual's own ends the application at the first byte that is not UTF-8, spins at the end of its input, and leaves the
terminal as it is when it is told to end.
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
from collections.abc import Callable
from typing import Any, cast

from rich.text import Text
from textual import events
from textual.drivers.linux_driver import LinuxDriver
from textual.keys import Keys
from textual.message import Message

from llmtui.tui.textual_internals import MODE_RESPONSE, MOUSE_EVENT, XTermParser

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""They end the workbench in order, with the exit code a shell gives them: 128 and their number."""

PATIENCE = 10.0
"""Seconds for ending in order, of which closing the inference process may take some; then it is broken off."""

SPLIT = 0.5
"""Seconds until the first bytes of a character are taken for what they are: a slow line may pause within one."""

LARGEST = 2000
"""Rows or columns of a terminal beyond which its word about its size is not believed."""

_X10 = re.compile(rb"\x1b\[M(...)", re.DOTALL)
_X10_BEGUN = re.compile(rb"\x1b\[(?:M.{0,2})?\Z", re.DOTALL)
_STRING = re.compile(rb"\x1b[\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\)")
"""What a terminal answers to questions of other programs: titles, colours, its name."""

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_MODIFIED = re.compile(r"\x1b\[27;(\d+);(\d+)~")
"""xterm's modifyOtherKeys, which tmux sends too: modifiers and key."""


def _windows_1252(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error("llmtui.windows-1252", _windows_1252)


class Input:
    """Bytes from a terminal to text. What is not UTF-8 is read as Windows-1252, which holds Latin-1's letters."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("llmtui.windows-1252")
        self._held = b""
        self._came = 0.0

    def take(self, data: bytes) -> str:
        """The text of `data`, as far as it is certain what it is."""
        self._came = time.monotonic()
        data, self._held = self._held + data, b""
        if begun := _X10_BEGUN.search(data):
            data, self._held = data[: begun.start()], begun[0]
        return self._decoder.decode(_STRING.sub(b"", _X10.sub(_sgr, data)))

    def wait(self) -> str:
        """Nothing more came for a moment: the text of what was held back."""
        held, self._held = self._held, b""
        final = time.monotonic() - self._came > SPLIT
        return self._decoder.decode(held, final=final) if held or final else ""


def _sgr(report: re.Match[bytes]) -> bytes:
    """A mouse report in xterm's first form, a byte each for buttons, column and row, in the form Textual reads."""
    buttons, column, row = (byte - 32 for byte in report[1])
    if min(buttons, column - 1, row - 1) < 0:
        return b""
    released = buttons & 0b1100011 == 3
    return b"\x1b[<%d;%d;%d%c" % (buttons & ~3 if released else buttons, column, row, b"m" if released else b"M")


class Parser(XTermParser):
    """Textual's, with keys it does not know, and without the errors and the typing it makes of unknown sequences."""

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> list[events.Key]:
        if sequence in ("\x1b\r", "\x1b\n"):
            return [events.Key("alt+enter", None)]
        if modified := _MODIFIED.fullmatch(sequence):
            sequence = f"\x1b[{modified[2]};{modified[1]}u"
        try:
            keys = list(super()._sequence_to_key_events(sequence, alt=alt))
        except (ValueError, OverflowError):  # numbers that are no character
            keys = []
        ours = MOUSE_EVENT.match(sequence) or MODE_RESPONSE.match(sequence)
        if not keys and not ours and _CONTROL.fullmatch(sequence):
            return [events.Key(Keys.Ignore, sequence)]  # else its letters would be typed
        return keys


class Output:
    """What the writing thread writes into. Never raises: `lost` is called once when the terminal is gone."""

    def __init__(self, descriptor: int, encoding: str, lost: Callable[[], None]) -> None:
        self._descriptor, self._encoding, self._lost = descriptor, encoding, lost
        self._pending = b""
        self._gone = False

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> None:
        if not self._gone:
            self._pending += text.encode(self._encoding, "replace")
            if len(self._pending) > 2**16:
                self.flush()

    def flush(self) -> None:
        while self._pending and not self._gone:
            try:
                self._pending = self._pending[os.write(self._descriptor, self._pending) :]
            except BlockingIOError:  # another program that shares the terminal has made it so
                select.select([], [self._descriptor], [], 1.0)
            except OSError:
                self._gone = True
                self._lost()


class TerminalDriver(LinuxDriver):
    """Textual's driver over the terminal that standard output is."""

    def __init__(self, app: Any, **textual: Any) -> None:
        super().__init__(app, **textual)
        screen = cast(Any, sys.__stdout__)
        self._output = Output(screen.fileno(), screen.encoding or "utf-8", self._hung_up)
        self._file = cast(Any, self._output)
        self._ending = False
        for number in ENDING:
            signal.signal(number, self._told_to_end)

    # -- input ----------------------------------------------------------------------------------------------------

    def _run_input_thread(self) -> None:
        try:
            self.run_input_thread()
        except Exception as error:
            self._loop.call_soon_threadsafe(self._app._handle_exception, error)

    def run_input_thread(self) -> None:
        """Read keys until told to stop, or until the terminal is gone."""
        parser: XTermParser = Parser(self._debug)
        decoder = Input()
        while not self.exit_event.is_set():
            text = ""
            if select.select([self.fileno], [], [], 0.1)[0]:
                try:
                    data = os.read(self.fileno, 4096)
                except BlockingIOError:
                    continue
                except OSError:  # how Linux says that the other end of a pseudo-terminal is closed
                    data = b""
                if not data:
                    self._hung_up()
                    return
                text = decoder.take(data)
            else:
                text = decoder.wait()
            for character in text:
                parser = self._parse(parser, character)
            parser = self._parse(parser, "")

    def _parse(self, parser: XTermParser, character: str) -> XTermParser:
        """Take one character, or time passing; the parser to go on with, a new one where it broke."""
        try:
            for message in parser.feed(character) if character else parser.tick():
                self.process_message(message)
        except Exception:  # a sequence that it or we cannot take is dropped, with what it has left behind
            return Parser(self._debug)
        return parser

    def process_message(self, message: Message) -> None:
        """Pass a message on. Raises ValueError for a size that no terminal has."""
        if isinstance(message, events.Resize) and not (
            0 < message.size.width <= LARGEST and 0 < message.size.height <= LARGEST
        ):
            raise ValueError(message.size)
        super().process_message(message)

    # -- output ---------------------------------------------------------------------------------------------------

    @property
    def _up(self) -> bool:
        return self._writer_thread is not None and self._writer_thread.is_alive()

    def write(self, data: str) -> None:
        """Send `data`; nothing while the terminal is somebody else's, when nobody would take it from the queue."""
        if self._up:
            super().write(data)

    # -- ending ---------------------------------------------------------------------------------------------------

    def _told_to_end(self, number: int, _frame: object) -> None:
        if self._ending:
            return
        word = None if number == signal.SIGHUP else f"llmtui: ended by {signal.Signals(number).name}; runs continue"
        try:
            self._loop.call_soon_threadsafe(self._end, number, word)
        except RuntimeError:  # it has ended already
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _hung_up(self) -> None:
        if not self._ending:
            self._loop.call_soon_threadsafe(self._end, signal.SIGHUP, None)

    def _end(self, number: int, word: str | None) -> None:
        """End the workbench in order; after a while in any way."""
        if self._ending:
            return
        self._ending = True
        late = threading.Timer(PATIENCE, self._break_off, (128 + number,))
        late.daemon = True
        late.start()
        self._app.exit(return_code=128 + number, message=Text(word) if word else None)

    def _break_off(self, code: int) -> None:
        """Give the terminal back and end at once: the event loop hangs, say in a terminal that takes nothing."""
        try:
            if self.attrs_before is not None:
                termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)
            if select.select([], [self._output.fileno()], [], 0.5)[1]:
                os.write(self._output.fileno(), b"\x1b[?2004l\x1b[?1000l\x1b[?1003l\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?7h")
        finally:
            os._exit(code)

    # -- being stopped and going on -------------------------------------------------------------------------------

    # Both in the loop, not where the signal arrives: that may be within a queue whose lock they need.

    def _sigtstp_application(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop)

    def _sigcont_application(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._go_on)

    def _stop(self) -> None:
        if self._up:
            self.suspend_application_mode()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _go_on(self) -> None:
        if self._ending:
            return
        if self._up:  # stopped by SIGSTOP, without a word: the shell has changed the terminal's settings meanwhile
            self.suspend_application_mode()
        self.resume_application_mode()
        if self._up:
            self._app.refresh(layout=True)
            self._app.screen.refresh(layout=True)
