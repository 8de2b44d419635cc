"""`llmtui score`, and `llmtui sample` with --best-of and --beams, through the real inference process."""

from __future__ import annotations

import io
import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.recipe.schema import Model, Recipe
from core.runs.directory import Run
from core.runs.launch import child_environment
from core.storage.workspace import Workspace
from core.tokenize.characters import byte_vocabulary
from llmtui.cli.main import run as command_line
from tests.byte_models import save_checkpoint
from tests.waiting import PATIENCE

Out = pytest.CaptureFixture[str]
BYTES = byte_vocabulary()
ROOT = Path(__file__).parent.parent

FAILING = """
import sys
from core.sample.protocol import *
for line in sys.stdin.buffer:
    asked = decode_request(line)
    loaded = Loaded(id=asked.id, checkpoint="step-00000007", step=7, prompt_tokens=0, precision="float32")
    scored = ScoreResult(id=asked.id, step=7, nats=1.0, tokens=1, bytes=1, bits_per_byte=1.0, bound=False,
                         short_context_tokens=0)
    refused = Refused(id=asked.id, what="no")
    for reply in [refused] if asked.text == "fail" else [loaded, scored, Finished(id=asked.id)]:
        sys.stdout.buffer.write(encode(reply) + b"\\n")
    sys.stdout.buffer.flush()
"""


def written(workspace: Workspace, name: str, **fields: object) -> Run:
    """A run with an untrained model of single bytes."""
    config = Model(n_layer=1, n_head=2, n_embd=16, block_size=32, **fields)  # type: ignore[arg-type]
    run = Run.create(workspace, Recipe(name=name, model=config))
    save_checkpoint(run.checkpoints, 7, config, slice_loss=1.0)
    return run


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_score_prints_a_line_for_each_file(workspace: Workspace, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    written(workspace, "plain")
    Path("a.txt").write_text("abc" * 50)
    Path("b.txt").write_text("é")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from outside")))
    assert command_line(["score", "a.txt", "b.txt", "-"]) == 0
    captured = capsys.readouterr()
    lines = [line.split() for line in captured.out.splitlines()]
    # its head is zero: every byte costs the logarithm of 257
    assert lines[0] == ["FILE", "TOKENS", "NATS/TOKEN", "PERPLEXITY", "BITS/BYTE"]
    assert lines[1:] == [
        [name, n, "5.549", "257", "8.006"] for name, n in (("a.txt", "150"), ("b.txt", "2"), ("-", "12"))
    ]


def test_score_reads_a_text_as_the_training_text_was_cleaned_and_says_so(workspace: Workspace, capsys: Out) -> None:
    written(workspace, "plain")
    text = "one \ntwo\nthree\n"
    for name, data in {
        "lf": text.replace(" ", "").encode(),
        "crlf": text.replace("\n", "\r\n").encode(),
        "wide": text.encode("utf-16"),
    }.items():
        Path(name).write_bytes(data)
    assert command_line(["score", "lf", "crlf", "wide"]) == 0
    captured = capsys.readouterr()
    assert [line.split()[1:] for line in captured.out.splitlines()[1:]] == [["14", "5.549", "257", "8.006"]] * 3
    said = "is cleaned like the training text: changed by"
    assert f"crlf {said} control_characters, trailing_space\n" in captured.err
    assert f"wide {said} trailing_space\n" in captured.err and f"lf {said}" not in captured.err.replace("crlf", "")


def test_what_a_masked_model_scores_is_a_bound(workspace: Workspace, capsys: Out) -> None:
    run = written(workspace, "hidden", objective="masked")
    written(workspace, "newer")
    Path("a.txt").write_text("abc" * 50)
    assert command_line(["score", "a.txt", "--run", "hidden", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["nats"] == pytest.approx(150 * math.log(257), rel=1e-5)
    assert found["perplexity"] == pytest.approx(257, rel=1e-3)
    assert [found[name] for name in ("file", "step", "tokens", "bytes")] == ["a.txt", 7, 150, 150]
    assert (found["bound"], found["few_before"]) == (True, 0)
    assert found["checkpoint"] == str(run.checkpoints / "step-00000007")
    assert command_line(["score", "a.txt", "--run", "hidden"]) == 0
    assert "≤5.549      ≤257        ≤8.006" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b"ab\xff", "it is not UTF-8 text (byte 2)"),
        (b"a\0b", "not a text file: it contains NUL bytes"),
        (None, "no such file or directory"),
    ],
)
def test_score_says_what_is_wrong_with_a_file(workspace: Workspace, capsys: Out, data: bytes | None, says: str) -> None:
    written(workspace, "plain")
    if data is not None:
        Path("x").write_bytes(data)
    assert command_line(["score", "x"]) == 2
    assert f"llmtui: cannot read the text: {says}" in capsys.readouterr().err
    Path("folder").mkdir()
    assert command_line(["score", "folder"]) == 2


def test_scoring_a_long_text_can_be_interrupted(workspace: Workspace) -> None:
    written(workspace, "plain")
    Path("long.txt").write_text("abc\n" * 1_000_000)
    program = [sys.executable, "-P", "-c", "from llmtui.cli.main import main; main()", "score", "long.txt"]
    child = subprocess.Popen(program, env=child_environment(workspace), stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    said = child.stderr.readline()  # how far it is, again and again
    child.send_signal(signal.SIGINT)
    assert child.wait(PATIENCE) == 130
    assert said.startswith("long.txt: ") and "tok/s" in said and said.endswith("left\n")


def test_each_file_has_a_row_even_when_it_is_named_again_or_one_behind_it_fails(
    workspace: Workspace, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(workspace, "plain")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(
        "llmtui.clients.inference_client.python_command", lambda module: [sys.executable, "-P", "-c", FAILING]
    )
    for name in ("a", "b", "fail"):
        Path(name).write_text(name)
    assert command_line(["score", "a", "b", "a", "fail", "b"]) == 1
    captured = capsys.readouterr()
    assert [line.split()[0] for line in captured.out.splitlines()] == ["FILE", "a", "b", "a"]
    assert "cannot score the text: no   (fail)" in captured.err


def test_the_likeliest_texts_come_first_with_what_they_cost(workspace: Workspace, capsys: Out) -> None:
    written(workspace, "plain", zero_init=False)
    for option in ("--best-of", "--beams"):
        asked = ["sample", "plain", "ab", option, "3", "--tokens", "5"]
        assert command_line([*asked, "--json"]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [each["index"] for each in found] == [0, 1, 2]
        costs = [each["nats_per_token"] for each in found]
        assert costs == sorted(costs)
        assert all(0 < each["tokens"] <= 5 and each["prompt"] == "ab" for each in found)
    assert command_line(asked) == 0
    captured = capsys.readouterr()
    assert captured.out == "".join(f"ab{each['text']}\n" for each in found)
    assert captured.err.startswith(f"1. {costs[0]:.3f} nats per token, perplexity ")


def test_both_ways_at_once_and_masked_models_are_refused(workspace: Workspace, capsys: Out) -> None:
    written(workspace, "hidden", objective="masked")
    assert command_line(["sample", "hidden", "ab", "--beams", "2", "--best-of", "2"]) == 2
    assert "give one of them" in capsys.readouterr().err
    assert command_line(["sample", "hidden", "ab", "--beams", "2", "--precision", "int8"]) == 2
    assert "--best-of and --beams compute in float32" in capsys.readouterr().err
    assert command_line(["sample", "hidden", "ab", "--beams", "2"]) == 1
    assert "a masked model gives no likelihoods" in capsys.readouterr().err
