"""Invalid input, signals and lost terminals: the workbench continues, or exits and restores the terminal."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from textual import events
from textual.message import Message

from benchmarks.terminal import Terminal
from core.storage.workspace import Workspace
from llmtui.tui.driver import InputDecoder, InputParser, PasteFilter, TerminalOutput
from tests.terminal.test_workbench import WORKBENCH, until
from tests.ui.fake_runs import (
    FakeWorker,
    events_before_training,
    finished_run,
    hold_locks,
    make_checkpoint,
    make_run,
    training_events,
    write_launch,
)

pytestmark = pytest.mark.heavy

LEAVE_ALTERNATE_SCREEN = b"\x1b[?1049l"
"""What the terminal gets when the workbench leaves."""


@pytest.fixture
def terminal(workspace: Workspace) -> Iterator[Terminal]:
    """The workbench on 120 columns, showing one run."""
    make_checkpoint(finished_run(workspace, "bard", 100), 50)
    with Terminal(WORKBENCH, 120, 30) as opened:
        before = opened.settings()
        opened.wait_for("n new")
        yield opened
        if LEAVE_ALTERNATE_SCREEN in opened.last:
            assert opened.settings() == before, "the terminal's settings are not as they were"


def prompt(terminal: Terminal) -> str:
    """What stands in the chat's prompt, its lines joined by |."""
    rows = terminal.screen.display
    top = max(number for number, row in enumerate(rows) if "╭" in row)
    return "|".join(row.strip("│▁▂▃▄▅▆▇█ ") for row in rows[top + 1 : -2]).rstrip("|")


def to_the_prompt(terminal: Terminal) -> None:
    terminal.send("5")
    terminal.wait_for("type a prompt")
    terminal.settle()


def test_invalid_input_is_ignored_and_readable_text_is_typed(terminal: Terminal) -> None:
    to_the_prompt(terminal)
    for data in (
        b"\x1b[M\x20\xff\xff\x1b[M\x00\x00\x00",  # X10's mouse outside of the screen
        b"\x1b[1114112;1u\x1b[97:65;2:1u\x1b[99999999999;5u",  # keys of no character
        b"\x1b[48;0;0;0;0t\x1b[48;99999;99999;9;9t",  # sizes of no terminal
        b"\x1b[?62;c\x1b]11;rgb:1e/1e/1e\x1b\\\x1bP>|foot(1.2)\x1b\\\x1b[999z",  # replies without a query
        b"\x1b[M\x20\x8e\x3b\x1b[M\x23\x8e\x3b",  # a click into the prompt, column 110
        b"caf\xe9 \xc3\xa9 ",  # e acute from a Latin-1 terminal, then from a UTF-8 one
        b"na\xefve \xe2\x82\xac",
    ):
        terminal.send(data)
        terminal.settle(0.2)
    until(terminal, lambda: prompt(terminal) == "café é naïve €", "the letters")
    terminal.send(b"\xe9")  # what would begin a longer character stands alone
    until(terminal, lambda: prompt(terminal) == "café é naïve €é", "the last letter")


def test_alt_enter_and_shift_enter_of_all_terminals_insert_a_line(terminal: Terminal) -> None:
    to_the_prompt(terminal)
    for number, keys in enumerate(("\x1b\r", "\x1b[13;2u", "\x1b[13;3u", "\x1b[27;2;13~", "\n")):
        terminal.send(chr(ord("a") + number) + keys)
        terminal.settle(0.2)
    terminal.send("z")
    until(terminal, lambda: prompt(terminal).endswith("z"), "the last letter")
    terminal.send("\x1b")
    terminal.settle(0.2)
    assert any("Type the beginning of a text" in row for row in terminal.screen.display), "it was sent"
    assert prompt(terminal).endswith("d|e|z")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_the_workbench_and_restores_the_terminal(terminal: Terminal, number: signal.Signals) -> None:
    terminal.send("3")
    terminal.wait_for("grad")
    terminal.signal(number)
    assert terminal.wait_for_end() == 128 + number
    assert LEAVE_ALTERNATE_SCREEN in terminal.last and b"\x1b[?25h" in terminal.last and b"\x1b[?1003l" in terminal.last
    assert f"ended by {number.name}; runs continue".encode() in terminal.last
    assert b"Traceback" not in terminal.last


def test_closing_the_terminal_ends_the_workbench(terminal: Terminal) -> None:
    to_the_prompt(terminal)
    terminal.hang_up()
    assert terminal.wait_for_exit() == 128 + signal.SIGHUP


def test_sighup_ends_the_workbench(terminal: Terminal) -> None:
    terminal.signal(signal.SIGHUP)
    assert terminal.wait_for_end() == 128 + signal.SIGHUP
    assert LEAVE_ALTERNATE_SCREEN in terminal.last


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGSTOP])
def test_after_suspend_and_continue_it_redraws_and_reads_each_key_once(
    terminal: Terminal, number: signal.Signals
) -> None:
    to_the_prompt(terminal)
    terminal.signal(number)
    terminal.wait_until_stopped()
    terminal.settle()
    if number == signal.SIGTSTP:
        assert LEAVE_ALTERNATE_SCREEN in terminal.last, "a shell would draw over it"
    terminal.screen.reset()  # what the shell wrote meanwhile
    terminal.signal(signal.SIGCONT)
    terminal.wait_for("transcript")
    terminal.settle()
    terminal.send("abc")
    until(terminal, lambda: prompt(terminal) == "abc", "each letter once")
    terminal.signal(signal.SIGTERM)
    assert terminal.wait_for_end() == 128 + signal.SIGTERM


def test_an_unexpected_exception_is_one_sentence_and_a_log_and_runs_continue(workspace: Workspace) -> None:
    run = make_run(workspace, "live")
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 20, 400))
    broken = "from llmtui.tui.widgets.bars import HeaderBar; HeaderBar.lines = lambda *_: 1 / 0; " + WORKBENCH[-1]
    with hold_locks(run), Terminal([sys.executable, "-P", "-c", broken]) as terminal:
        before = terminal.settings()
        assert terminal.wait_for_end() == 1
        assert LEAVE_ALTERNATE_SCREEN in terminal.last and terminal.settings() == before
        assert b"the workbench broke off" in terminal.last and b"runs continue" in terminal.last
        assert b"Traceback" not in terminal.last
        assert "ZeroDivisionError" in (workspace.state / "workbench.log").read_text()
        assert run.writer()


def test_only_partial_sequences_are_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = InputDecoder()
    assert decoder.decode(b"a\xe2\x82") == "a"
    assert decoder.flush() == "", "a slow line"
    assert decoder.decode(b"\xac") == "€"
    assert decoder.decode(b"\x1b[") == "" and decoder.flush() == "\x1b["
    assert decoder.decode(b"\x1b") == "\x1b", "the escape key does not wait"
    assert decoder.decode(b"\x1b[M\xe0") == "" and decoder.decode(b"\xe1\xe2!") == "\x1b[<192;193;194M!"
    assert decoder.decode(b"\xe9") == ""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1)
    assert decoder.flush() == "é"


def test_pasted_text_types_no_keys_whatever_is_in_it() -> None:
    def messages(*reads: bytes) -> list[Message]:
        decoder, pastes, parser = InputDecoder(), PasteFilter(), InputParser()
        return [
            message
            for read in reads
            for character in pastes.filter(decoder.decode(read))
            for message in parser.feed(character)
        ]

    def pasted(*reads: bytes) -> str:
        start, paste, end = messages(b"a", *reads, b"b")
        assert isinstance(start, events.Key) and isinstance(paste, events.Paste) and isinstance(end, events.Key)
        assert (start.key, end.key) == ("a", "b")
        return paste.text

    log = b"\x1b[200~\x1b[31mx\x1b[0m y \x1b[20\x1b\x1b[201~"
    assert pasted(log) == "[31mx[0m y [20"
    for at in range(len(log)):
        assert pasted(log[:at], log[at:]) == "[31mx[0m y [20"
    binary = random.Random(1)
    for _ in range(20):
        pasted(b"\x1b[200~" + binary.randbytes(2000) + b"\x1b[201~")


def test_output_arrives_complete_or_its_loss_is_reported_once() -> None:
    lost: list[bool] = []
    end, start = os.pipe()
    os.set_blocking(start, False)  # as a program that shares the terminal may leave it
    output = TerminalOutput(start, "latin-1", lambda: lost.append(True))
    received = bytearray()
    reader = threading.Thread(target=lambda: [received.extend(part) for part in iter(lambda: os.read(end, 4096), b"")])
    reader.start()
    for _ in range(30):
        output.write("é│" * 10_000)
    output.flush()
    os.close(start)
    reader.join()
    assert bytes(received) == b"\xe9?" * 300_000 and not lost
    assert output.traffic.total == 600_000 and output.traffic.rate(60) > 600_000 / 60
    os.close(end)
    output.write("more")
    output.flush()
    output.write("more")
    output.flush()
    assert lost == [True]


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_without_a_terminal_it_lists_the_runs(workspace: Workspace, closed: str) -> None:
    finished_run(workspace, "bard", 20)
    with Terminal(["sh", "-c", f'exec "$0" "$@" {closed}', *WORKBENCH]) as terminal:
        assert terminal.wait_for_end(60) == 0
        assert b"should not have happened" not in terminal.last and b"Traceback" not in terminal.last
        assert os.fsencode("the workbench needs a terminal") in terminal.last
