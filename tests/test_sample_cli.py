"""`llmtui sample`: its options, output and errors."""

from __future__ import annotations

import io
import json
import sys

import pytest

from core.recipe.sampling import Sampling
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.byte_models import run_with_checkpoints
from tests.cli_runs import DONE, ROOT, TRAINED, checkpoint, made
from tests.ui.fake_runs import hold_locks

pytestmark = pytest.mark.usefixtures("in_temporary_directory")


SERVER = """
import sys
from pathlib import Path
from core.sample.protocol import TextEnded, Finished, Loaded, Refused, TextDelta, decode_request, encode
for line in sys.stdin.buffer:
    request = decode_request(line)
    path = Path(request.checkpoint)
    path = max(path.glob("step-*"), default=path)
    for reply in (
        Loaded(id=request.id, checkpoint=str(path), step=int(path.name[5:]), prompt_tokens=1),
        TextDelta(id=request.id, text=f" seed {request.sampling.seed}"),
        *([Refused(id=request.id, what="no")] if request.prompt == "break off" else []),
        TextDelta(id=request.id, text="\\x1b[31m, and so on"),
        TextEnded(id=request.id, reason="length", tokens=2),
        Finished(id=request.id, tokens=2, seconds=0.5),
    ):
        sys.stdout.buffer.write(encode(reply) + b"\\n")
    sys.stdout.buffer.flush()
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inference process that answers without a model."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(
        "llmtui.clients.inference_client.python_command", lambda module: [sys.executable, "-P", "-c", SERVER]
    )


def test_sample_streams_prompt_and_text_of_the_newest_checkpoint(
    workspace: Workspace, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, DONE)
    checkpoint(run, 100, 2.0)
    checkpoint(run, 200, 3.0)
    assert command_line(["sample", "tiny", "once", "--seed", "7"]) == 0
    assert capsys.readouterr().out == "once seed 7\x1b[31m, and so on\n"  # a pipe gets what the model wrote


def test_sample_json_has_the_text_and_its_settings(
    workspace: Workspace, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, DONE)
    checkpoint(run, 100, 2.0)
    checkpoint(run, 200, 3.0)
    assert command_line(["sample", "tiny", "once", "--checkpoint", "best", "--json", "--top-k", "3"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["step"], result["prompt"], result["text"]) == (100, "once", " seed 1\x1b[31m, and so on")
    assert (result["top_k"], result["temperature"], result["reason"], result["schema"]) == (3, 0.8, "length", 2)


def test_sample_skips_a_damaged_checkpoint_and_reports_it(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_with_checkpoints(workspace, 100, 200)
    damaged = run.checkpoints / "step-00000200" / "model.safetensors"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # same size, other content
    assert command_line(["sample", "tiny", "once", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert (result["step"], result["checkpoint"]) == (100, str(run.checkpoints / "step-00000100"))
    assert captured.err == "skipping step-00000200: model.safetensors has changed since it was written\n"
    assert command_line(["sample", "tiny", "once", "--checkpoint", "200"]) == 1
    assert "cannot generate text: model.safetensors has changed" in capsys.readouterr().err


def test_the_best_checkpoint_is_the_best_undamaged_one(
    workspace: Workspace, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, DONE)
    checkpoint(run, 100, 2.0)
    (checkpoint(run, 200, 1.0) / "model.safetensors").unlink()
    assert command_line(["sample", "tiny", "once", "--checkpoint", "best", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 100
    assert command_line(["sample", "tiny", "once", "--checkpoint", "200"]) == 1
    assert "model.safetensors is missing" in capsys.readouterr().err
    assert command_line(["sample", "tiny", "once", "--checkpoint", "300"]) == 2
    assert "checkpoints: 200, 100" in capsys.readouterr().err


def test_sample_ends_the_line_of_an_aborted_text(
    workspace: Workspace, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint(made(workspace, DONE), 100, 2.0)
    assert command_line(["sample", "tiny", "break off"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "break off seed 1\n"
    assert captured.err.endswith("llmtui: cannot generate text: no\n")


def test_sample_refuses_a_prompt_that_is_not_utf8(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(made(workspace, DONE), 100, 2.0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"once \xff")))
    assert command_line(["sample", "tiny", "-"]) == 2
    assert "cannot read the text: it is not UTF-8 text (byte 5)   (-)" in capsys.readouterr().err


def test_sample_has_an_option_for_every_sampling_setting(
    workspace: Workspace, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, list[str]] = {
        "tokens": ["--tokens", "3"],
        "logit_bias": ["--logit-bias", "5=-1.5", "--logit-bias", "7=2"],
        "repetition_penalty": ["--repetition-penalty", "1.5"],
        "presence_penalty": ["--presence-penalty", "0.5"],
        "frequency_penalty": ["--frequency-penalty", "0.25"],
        "temperature": ["--temperature", "0.5"],
        "top_k": ["--top-k", "4"],
        "top_p": ["--top-p", "0.5"],
        "min_p": ["--min-p", "0.125"],
        "typical_p": ["--typical-p", "0.75"],
        "seed": ["--seed", "9"],
        "stop": ["--stop", "a", "--stop", "b"],
        "stop_tokens": ["--stop-token", "3", "--stop-token", "4"],
    }
    assert set(options) == set(Sampling.__struct_fields__)
    checkpoint(made(workspace, DONE), 100, 2.0)
    assert (
        command_line(["sample", "tiny", "once", "--json", *(word for words in options.values() for word in words)]) == 0
    )
    result = json.loads(capsys.readouterr().out)
    values = [result[name] for name in options]
    assert values == [3, {"5": -1.5, "7": 2.0}, 1.5, 0.5, 0.25, 0.5, 4, 0.5, 0.125, 0.75, 9, ["a", "b"], [3, 4]]
    for wrong in ("5", "x=1", "5=x"):
        assert command_line(["sample", "tiny", "once", "--logit-bias", wrong]) == 2
        assert f"{wrong!r} is not ID=NUMBER" in capsys.readouterr().err
    assert command_line(["sample", "tiny", "once", "--logit-bias", "5=1e9"]) == 2
    assert "sample.logit_bias" in capsys.readouterr().err


def test_sampling_options_are_validated_like_recipe_fields(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    made(workspace, DONE)
    assert command_line(["sample", "tiny", "once", "--top-p", "1.5"]) == 2
    assert "sample.top_p = 1.5 is not a number above 0, at most 1   (--top-p)" in capsys.readouterr().err
    assert command_line(["sample", "tiny", "once", "--stop-token", "-1"]) == 2
    assert "(--stop-token)" in capsys.readouterr().err
    for wrong, hint in (("lss", "id you mean 'ls'?"), ("a/b.txt", "`llmtui run a/b.txt` trains on it")):
        assert command_line([wrong]) == 2
        assert hint in capsys.readouterr().err
    assert command_line(["data"]) == 2
    assert capsys.readouterr().err.count("Usage:") == 1
    assert command_line(["vocab", "zzzz"]) == 2
    assert "commands are compare, encode, import, report" in capsys.readouterr().err


def test_sample_without_a_checkpoint_is_an_error(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    made(workspace, TRAINED[:6])
    assert command_line(["sample"]) == 1
    assert "there is no checkpoint yet" in capsys.readouterr().err


def test_sampling_during_training_warns_that_training_is_slower(
    workspace: Workspace, server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, DONE)
    checkpoint(run, 100, 2.0)
    with hold_locks(run):
        assert command_line(["sample", "tiny", "once"]) == 0
        assert "training continues, and is slower" in capsys.readouterr().err
    assert command_line(["sample", "tiny", "once"]) == 0
    assert "training" not in capsys.readouterr().err
