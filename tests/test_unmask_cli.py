"""`llmtui sample` with a masked model: infilling before a suffix, and --show with each denoising step."""

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

INFERENCE_PROCESS = """
import os, sys, time
from core.sample.protocol import *
for line in sys.stdin.buffer:
    request = decode_request(line)
    for reply in (
        Loaded(id=request.id, checkpoint=request.checkpoint, step=7, prompt_tokens=2, suffix_tokens=9,
               dropped_suffix_tokens=1 if request.suffix else 0, precision="float32"),
        *(DenoisingState(id=request.id, spans=spans, tokens=done) for done, spans in (
            (1, [Span(masked=1), Span("\\x1b[2J", new=True), Span(masked=1)]),
            (3, [Span("one\\n", new=True), Span("\\x1b[2J"), Span("two", new=True)]),
        ) if request.denoising_states),
        *([Refused(id=request.id, what="no")] if request.prompt == "break" else []),
        TextDelta(id=request.id, text="one\\n\\x1b[2Jtwo"),
        TextEnded(id=request.id, reason="length", tokens=3),
        Finished(id=request.id, tokens=3, seconds=0.5),
    ):
        sys.stdout.buffer.write(encode(reply) + b"\\n")
        sys.stdout.buffer.flush()
        while isinstance(reply, DenoisingState) and not os.path.exists(os.environ["CONTINUE_FILE"]):
            time.sleep(0.01)
"""


PROGRAM = [
    sys.executable,
    "-c",
    "import sys, llmtui.clients.inference_client, llmtui.cli.main\n"
    f"command = [sys.executable, '-P', '-c', {INFERENCE_PROCESS!r}]\n"
    "llmtui.clients.inference_client.python_command = lambda module: command\n"
    "llmtui.cli.main.main()",
]


@pytest.fixture
def masked(workspace: Workspace) -> Run:
    run = make_run(workspace, "masked", "model.objective=masked")
    make_checkpoint(run, 7)
    return run


@pytest.fixture
def continue_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """After each denoising state, the inference process waits until this file exists."""
    monkeypatch.setenv("CONTINUE_FILE", str(tmp_path / "continue"))
    return tmp_path / "continue"


@pytest.fixture
def inference_process(continue_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inference process that answers without a model."""
    continue_file.touch()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(
        "llmtui.clients.inference_client.python_command", lambda module: [sys.executable, "-P", "-c", INFERENCE_PROCESS]
    )


def test_the_infilled_text_is_printed_between_prompt_and_suffix(
    masked: Run, inference_process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        command_line(["sample", masked.id, "ab", "--suffix", "cd", "--order", "entropy", "--denoising-steps", "2"]) == 0
    )
    captured = capsys.readouterr()
    assert captured.out == "abone\n\x1b[2Jtwocd\n"
    assert "the suffix is longer than the context: 1 token was left out" in captured.err


def test_without_a_terminal_each_denoising_step_is_a_line(
    masked: Run, inference_process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["sample", masked.id, "ab", "--suffix", "cd", "--show"]) == 0
    assert capsys.readouterr().out.splitlines() == ["ab░␛[2J░cd", "abone␊␛[2Jtwocd"]


def test_with_json_each_denoising_step_and_the_text_are_objects(
    masked: Run, inference_process: None, capsys: pytest.CaptureFixture[str]
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
def test_on_a_terminal_each_denoising_step_replaces_the_one_before(
    masked: Run, inference_process: None, continue_file: Path, rows: int
) -> None:
    continue_file.unlink()
    command = [*PROGRAM, "sample", masked.id, "prompt " * 12, "--suffix", "cd", "--show"]
    with Terminal(command, 30, rows) as terminal:
        terminal.wait_for("␛[2J")
        terminal.settle()
        assert "".join(terminal.screen.display).rstrip().endswith("░░░░░░␛[2J░░░░░░cd")
        continue_file.touch()
        assert terminal.wait_for_end() == 0
        screen = "".join(line.rstrip() for line in terminal.screen.display)
    assert screen.endswith("one␛[2Jtwocd")
    assert "░" not in screen
    assert screen.count("prompt") == 12 or rows == 3


def test_an_error_is_printed_after_the_last_denoising_step(masked: Run, inference_process: None) -> None:
    with Terminal([*PROGRAM, "sample", masked.id, "break", "--show"], 60, 10) as terminal:
        assert terminal.wait_for_end() == 1
        lines = [line.rstrip() for line in terminal.screen.display]
    assert lines[:3] == ["breakone", "␛[2Jtwo", "llmtui: cannot generate text: no"]


@pytest.mark.parametrize("option", [["--suffix", "cd"], ["--order", "entropy"], ["--denoising-steps", "2"], ["--show"]])
def test_options_of_masked_models_are_rejected_for_a_causal_one(
    workspace: Workspace, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    causal = make_run(workspace, "causal")
    make_checkpoint(causal, 7)
    assert command_line(["sample", causal.id, "ab", *option]) == 2
    assert "is causal" in capsys.readouterr().err
