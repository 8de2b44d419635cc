"""`llmtui sample` with a masked model: a middle is filled, and each state shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.terminal import Terminal
from core.runs.directory import Run
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.ui.fake_runs import make_checkpoint, make_run

ROOT = Path(__file__).parent.parent

SERVER = """
import os, sys, time
from core.sample.protocol import *
for line in sys.stdin.buffer:
    asked = decode_request(line)
    for reply in (
        Loaded(id=asked.id, checkpoint=asked.checkpoint, step=7, prompt_tokens=2, suffix_tokens=9,
               dropped_suffix_tokens=1 if asked.suffix else 0, precision="float32"),
        *(DenoisingState(id=asked.id, spans=spans, tokens=done) for done, spans in (
            (1, [Span(masked=1), Span("\\x1b[2J", new=True), Span(masked=1)]),
            (3, [Span("one\\n", new=True), Span("\\x1b[2J"), Span("two", new=True)]),
        ) if asked.denoising_states),
        *([Refused(id=asked.id, what="no")] if asked.prompt == "break" else []),
        TextDelta(id=asked.id, text="one\\n\\x1b[2Jtwo"),
        TextEnded(id=asked.id, reason="length", tokens=3),
        Finished(id=asked.id, tokens=3, seconds=0.5),
    ):
        sys.stdout.buffer.write(encode(reply) + b"\\n")
        sys.stdout.buffer.flush()
        while isinstance(reply, DenoisingState) and not os.path.exists(os.environ["GATE"]):
            time.sleep(0.01)
"""


PROGRAM = [
    sys.executable,
    "-c",
    "import sys, llmtui.clients.inference_client, llmtui.cli.main\n"
    f"llmtui.clients.inference_client.python = lambda module: [sys.executable, '-P', '-c', {SERVER!r}]\n"
    "llmtui.cli.main.main()",
]


@pytest.fixture
def masked(workspace: Workspace) -> Run:
    made = make_run(workspace, "masked", "model.objective=masked")
    make_checkpoint(made, 7)
    return made


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Behind the first state the inference process waits until this is there."""
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    return tmp_path / "gate"


@pytest.fixture
def server(gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inference process that answers without a model."""
    gate.touch()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr("llmtui.clients.inference_client.python", lambda module: [sys.executable, "-P", "-c", SERVER])


def test_a_middle_is_printed_between_prompt_and_suffix(
    masked: Run, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        command_line(["sample", masked.id, "ab", "--suffix", "cd", "--order", "entropy", "--denoising-steps", "2"]) == 0
    )
    captured = capsys.readouterr()
    assert captured.out == "abone\n\x1b[2Jtwocd\n"
    assert "the suffix is longer than the context: 1 token was left out" in captured.err


def test_elsewhere_than_on_a_terminal_each_state_is_a_line(
    masked: Run, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["sample", masked.id, "ab", "--suffix", "cd", "--show"]) == 0
    assert capsys.readouterr().out.splitlines() == ["ab░␛[2J░cd", "abone␊␛[2Jtwocd"]


def test_as_json_each_state_is_an_object_and_so_is_the_text(
    masked: Run, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        command_line(["sample", masked.id, "ab", "--suffix", "cd", "--denoising-steps", "2", "--show", "--json"]) == 0
    )
    first, _, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["tokens"] == 1
    assert first["state"] == [{"hidden": 1}, {"text": "\x1b[2J", "new": True}, {"hidden": 1}]
    assert (last["text"], last["suffix"], last["denoising_steps"]) == ("one\n\x1b[2Jtwo", "cd", 2)
    assert "order" not in last


@pytest.mark.parametrize("rows", [24, 3])
def test_on_a_terminal_each_state_takes_the_place_of_the_one_before(
    masked: Run, server: None, gate: Path, rows: int
) -> None:
    gate.unlink()
    command = [*PROGRAM, "sample", masked.id, "prompt " * 12, "--suffix", "cd", "--show"]
    with Terminal(command, 30, rows) as terminal:
        terminal.wait_for("␛[2J")
        terminal.settle()
        assert "".join(terminal.screen.display).rstrip().endswith("░░░░░░␛[2J░░░░░░cd")
        gate.touch()
        assert terminal.wait_for_end() == 0
        left = "".join(line.rstrip() for line in terminal.screen.display)
    assert left.endswith("one␛[2Jtwocd")
    assert "░" not in left
    assert left.count("prompt") == 12 or rows == 3


def test_what_stands_when_it_breaks_off_is_left_on_lines_of_its_own(masked: Run, server: None) -> None:
    with Terminal([*PROGRAM, "sample", masked.id, "break", "--show"], 60, 10) as terminal:
        assert terminal.wait_for_end() == 1
        lines = [line.rstrip() for line in terminal.screen.display]
    assert lines[:3] == ["breakone", "␛[2Jtwo", "llmtui: cannot generate text: no"]


@pytest.mark.parametrize("option", [["--suffix", "cd"], ["--order", "entropy"], ["--denoising-steps", "2"], ["--show"]])
def test_what_only_masked_models_do_is_a_wrong_request_to_a_causal_one(
    workspace: Workspace, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    causal = make_run(workspace, "causal")
    make_checkpoint(causal, 7)
    assert command_line(["sample", causal.id, "ab", *option]) == 2
    assert "is causal" in capsys.readouterr().err
