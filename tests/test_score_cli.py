"""`llmtui score` and `llmtui sample` with --best-of and --beams, with a real inference process."""

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

pytestmark = pytest.mark.heavy

Out = pytest.CaptureFixture[str]
BYTES = byte_vocabulary()
ROOT = Path(__file__).parent.parent

INFERENCE_PROCESS = """
import sys
from core.sample.protocol import *
for line in sys.stdin.buffer:
    request = decode_request(line)
    loaded = Loaded(id=request.id, checkpoint="step-00000007", step=7, prompt_tokens=0, precision="float32")
    scored = ScoreResult(id=request.id, step=7, nats=1.0, tokens=1, bytes=1, bits_per_byte=1.0, bound=False,
                         short_context_tokens=0)
    refused = Refused(id=request.id, what="no")
    for reply in [refused] if request.text == "fail" else [loaded, scored, Finished(id=request.id)]:
        sys.stdout.buffer.write(encode(reply) + b"\\n")
    sys.stdout.buffer.flush()
"""


def make_byte_run(workspace: Workspace, name: str, **fields: object) -> Run:
    """A run with an untrained byte-level model."""
    config = Model(n_layer=1, n_head=2, n_embd=16, block_size=32, **fields)  # type: ignore[arg-type]
    run = Run.create(workspace, Recipe(name=name, model=config))
    save_checkpoint(run.checkpoints, 7, config, slice_loss=1.0)
    return run


@pytest.fixture(autouse=True)
def in_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_score_prints_a_line_for_each_file(workspace: Workspace, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    make_byte_run(workspace, "plain")
    Path("a.txt").write_text("abc" * 50)
    Path("b.txt").write_text("é")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from outside")))
    assert command_line(["score", "a.txt", "b.txt", "-"]) == 0
    captured = capsys.readouterr()
    lines = [line.split() for line in captured.out.splitlines()]
    # the output layer is zero: the loss of each byte is log(257)
    assert lines[0] == ["FILE", "TOKENS", "NATS/TOKEN", "PERPLEXITY", "BITS/BYTE"]
    assert lines[1:] == [
        [name, n, "5.549", "257", "8.006"] for name, n in (("a.txt", "150"), ("b.txt", "2"), ("-", "12"))
    ]


def test_score_cleans_a_text_like_the_training_text_with_a_note(workspace: Workspace, capsys: Out) -> None:
    make_byte_run(workspace, "plain")
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
    note = "is cleaned like the training text: changed by"
    assert f"crlf {note} control_characters, trailing_space\n" in captured.err
    assert f"wide {note} trailing_space\n" in captured.err and f"lf {note}" not in captured.err.replace("crlf", "")


def test_score_reads_the_encodings_that_training_reads(workspace: Workspace, capsys: Out) -> None:
    make_byte_run(workspace, "plain")
    texts = {
        "latin": ("Überall fließt Öl aus den Rohren, sagte der Prüfer.\n" * 40, "cp1252"),
        "late": ("plain words\n" * 8000 + "Straße, Größe und Gemüse.\n" * 40, "cp1252"),
        "wide": ("Plain words in wide characters.\n" * 40, "utf-16-be"),
    }
    for name, (text, encoding) in texts.items():
        Path(name).write_bytes(text.encode(encoding))
    assert command_line(["score", *texts]) == 0
    captured = capsys.readouterr()
    sizes = [line.split()[1] for line in captured.out.splitlines()[1:]]
    assert sizes == [f"{len(text.encode()):,}" for text, _ in texts.values()]
    assert [f"{name} is read as {encoding}\n" in captured.err for name, (_, encoding) in texts.items()] == [True] * 3


def test_the_score_of_a_masked_model_is_an_upper_bound(workspace: Workspace, capsys: Out) -> None:
    run = make_byte_run(workspace, "masked-bytes", objective="masked")
    make_byte_run(workspace, "newer")
    Path("a.txt").write_text("abc" * 50)
    assert command_line(["score", "a.txt", "--run", "masked-bytes", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["nats"] == pytest.approx(150 * math.log(257), rel=1e-5)
    assert result["perplexity"] == pytest.approx(257, rel=1e-3)
    assert [result[name] for name in ("file", "step", "tokens", "bytes")] == ["a.txt", 7, 150, 150]
    assert (result["bound"], result["few_before"]) == (True, 0)
    assert result["checkpoint"] == str(run.checkpoints / "step-00000007")
    assert command_line(["score", "a.txt", "--run", "masked-bytes"]) == 0
    assert "≤5.549      ≤257        ≤8.006" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (bytes(range(1, 256)) * 20, "not a text file: it is binary"),
        (b"a\0b", "not a text file: it is binary"),
        (None, "no such file or directory"),
    ],
)
def test_score_reports_unreadable_files(workspace: Workspace, capsys: Out, data: bytes | None, message: str) -> None:
    make_byte_run(workspace, "plain")
    if data is not None:
        Path("x").write_bytes(data)
    assert command_line(["score", "x"]) == 2
    assert f"llmtui: cannot read the text: {message}" in capsys.readouterr().err
    Path("folder").mkdir()
    assert command_line(["score", "folder"]) == 2


def test_scoring_a_long_text_can_be_interrupted(workspace: Workspace) -> None:
    make_byte_run(workspace, "plain")
    Path("long.txt").write_text("abc\n" * 1_000_000)
    program = [sys.executable, "-P", "-c", "from llmtui.cli.main import main; main()", "score", "long.txt"]
    child = subprocess.Popen(program, env=child_environment(workspace), stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    progress = child.stderr.readline()
    child.send_signal(signal.SIGINT)
    assert child.wait(PATIENCE) == 130
    assert progress.startswith("long.txt: ") and "tok/s" in progress and progress.endswith("left\n")


def test_each_file_has_a_row_even_if_it_is_repeated_or_a_later_one_fails(
    workspace: Workspace, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_byte_run(workspace, "plain")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(
        "llmtui.clients.inference_client.python_command", lambda module: [sys.executable, "-P", "-c", INFERENCE_PROCESS]
    )
    for name in ("a", "b", "fail"):
        Path(name).write_text(name)
    assert command_line(["score", "a", "b", "a", "fail", "b"]) == 1
    captured = capsys.readouterr()
    assert [line.split()[0] for line in captured.out.splitlines()] == ["FILE", "a", "b", "a"]
    assert "cannot score the text: no   (fail)" in captured.err


def test_best_of_and_beams_print_texts_by_ascending_loss(workspace: Workspace, capsys: Out) -> None:
    make_byte_run(workspace, "plain", zero_init=False)
    for option in ("--best-of", "--beams"):
        command = ["sample", "plain", "ab", option, "3", "--tokens", "5"]
        assert command_line([*command, "--json"]) == 0
        texts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [text["index"] for text in texts] == [0, 1, 2]
        losses = [text["nats_per_token"] for text in texts]
        assert losses == sorted(losses)
        assert all(0 < text["tokens"] <= 5 and text["prompt"] == "ab" for text in texts)
    assert command_line(command) == 0
    captured = capsys.readouterr()
    assert captured.out == "".join(f"ab{text['text']}\n" for text in texts)
    assert captured.err.startswith(f"1. {losses[0]:.3f} nats per token, perplexity ")


def test_best_of_with_beams_and_masked_models_are_rejected(workspace: Workspace, capsys: Out) -> None:
    make_byte_run(workspace, "masked-bytes", objective="masked")
    assert command_line(["sample", "masked-bytes", "ab", "--beams", "2", "--best-of", "2"]) == 2
    assert "give one of them" in capsys.readouterr().err
    assert command_line(["sample", "masked-bytes", "ab", "--beams", "2", "--precision", "int8"]) == 2
    assert "--best-of and --beams compute in float32" in capsys.readouterr().err
    assert command_line(["sample", "masked-bytes", "ab", "--beams", "2"]) == 2
    error = capsys.readouterr().err
    assert "is masked: it has no likelihood from left to right" in error and "name a run whose model is causal" in error
