"""`llmtui xray` on a real checkpoint, with a real inference process."""

from __future__ import annotations

import io
import json
import re
import shutil
from typing import Any

import pytest

from core.model.count import parameters
from core.recipe.sampling import Sampling
from core.recipe.schema import Model, Preprocess, Recipe
from core.runs.directory import Run
from core.sample.inspect_protocol import InspectOptions
from core.sample.protocol import Cancel, Finished, Inspected, InspectModel, InspectPrompt
from core.storage.workspace import Workspace
from core.tokenize.vocabulary import Vocabulary
from llmtui.cli.main import run as command_line
from tests.byte_models import save_checkpoint
from tests.core.inference_process import serving

SHAPE = Model(n_layer=2, n_head=2, n_embd=16, block_size=16, zero_init=False)
MARK = "\x1b[2Jhostile\u202e"
HOSTILE = Vocabulary(
    "hostile",
    rf"(?:{re.escape(MARK)}){{2}}|[\s\S]",
    [*(bytes([byte]) for byte in range(256)), MARK.encode() * 2, b"\xf0\x9f\x99"],
    {"<|endoftext|>": 300},
)
"""Has tokens with control characters, one with part of a character, and unused ids."""


@pytest.fixture
def run(workspace: Workspace) -> Run:
    """A run with one untrained checkpoint and no cleaning of prompts."""
    run = Run.create(workspace, Recipe(name="tiny", preprocess=Preprocess(steps=())))
    save_checkpoint(run.checkpoints, 7, SHAPE, HOSTILE, slice_loss=1.0)
    return run


def xray(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert command_line(["xray", *arguments]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


EVERYTHING = ("--logit-lens", "--token-losses", "--attention", "1", "--attention", "2.2")
LONGER = ("--temperature", "2", "--top-p", "0.9", "--min-p", "0.01", "--frequency-penalty", "0.5", "--tokens", "2")


def test_the_steps_are_printed_in_order_and_fit_the_terminal(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    prompt = f"Hello, hello, {MARK * 2} ünd"
    out, err = xray(capsys, prompt, "--run", "tiny", "--seed", "3", *EVERYTHING, *LONGER)
    headings = [line[:1] for line in out.splitlines() if line[:1].isdigit() and line[1:3] == "  "]
    assert headings == list("1234563456")
    for words in (
        "TOKEN LOSSES",
        "LOGIT LENS",
        "ATTENTION, LAYER 1, HEAD 1",
        "LAYER 2, HEAD 2",
        "sampled",
    ):
        assert words in out
    assert max(map(len, out.splitlines())) <= 80
    assert not {"\x1b", "\u202e"} & set(out)
    assert "the prompt is longer than the context: 4 tokens were left out" in err


def test_with_json_each_result_is_an_object(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from standard input")))
    out, _ = xray(capsys, "-", "--run", "tiny", "--json", "--tokens", "3", "--seed", "5", "--logit-lens")
    results = objects(out)
    each = ["lastrow", "probabilities", "choice", "lens", "lens", "lens", "appended"]
    assert [result["type"] for result in results] == ["loaded", "tokens", "outputs", *3 * each]
    assert (results[0]["step"], results[1]["dropped"]) == (7, 3)


def test_weights_adds_up_to_the_parameters_of_the_model(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    total = parameters(SHAPE, HOSTILE.size).total
    out, _ = xray(capsys, "--weights", "--run", "tiny")
    assert out.count(f"{total:,}") == 2
    assert "h.1.mlp.c_proj" in out
    assert max(map(len, out.splitlines())) <= 80


def test_invalid_heads_and_checkpoints_give_an_error_message(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for invalid in ("0", "1.0", "x", "1.2.3", "-1"):
        assert "is not LAYER or LAYER.HEAD" in xray(capsys, "a", "--attention", invalid, code=2)[1]
    assert "there is no checkpoint of step 8" in xray(capsys, "a", "--checkpoint", "8", code=2)[1]
    _, err = xray(capsys, "a", "--attention", "3", code=1)
    assert "cannot inspect the model: there is no layer 3" in err
    assert "this model has the layers 1 to 2" in err


def test_a_prompt_that_is_not_utf_8_gives_an_error_message(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ab\xff")))
    assert "cannot read the text: it is not UTF-8 text (byte 2)" in xray(capsys, "-", code=2)[1]


@pytest.mark.parametrize(
    "option",
    [
        ["a"],
        ["--logit-lens"],
        ["--token-losses"],
        ["--attention", "1"],
        ["--seed", "0"],
        ["--stop", "a"],
        ["--tokens", "1"],
    ],
)
def test_weights_rejects_a_prompt_and_other_options(
    run: Run, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert "--weights takes no prompt" in xray(capsys, "--weights", *option, code=2)[1]


def test_the_newest_readable_checkpoint_is_used(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run.checkpoints / "step-00000009"
    shutil.copytree(run.checkpoints / "step-00000007", folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, io.SEEK_END)
        file.write(b"\xff")
    out, err = xray(capsys, "a", "--json")
    assert objects(out)[0]["checkpoint"] == str(run.checkpoints / "step-00000007")
    assert err.count("skipping step-00000009: model.safetensors has changed since it was written") == 1


def test_a_cancelled_request_ends_and_others_are_answered_meanwhile(run: Run, workspace: Workspace) -> None:
    path = str(run.checkpoints / "step-00000007")
    endless = Sampling(tokens=1_000_000, logit_bias={300: -1000.0})
    with serving(workspace) as child:
        child.send(
            InspectPrompt(id=1, checkpoint=path, prompt="a", sampling=endless, options=InspectOptions(logit_lens=True))
        )
        while not isinstance(child.next(), Inspected):
            pass
        child.send(InspectModel(id=2, checkpoint=path))
        assert isinstance(child.receive(2)[-1], Finished)
        child.send(Cancel(id=1))
        ended = child.receive(1)[-1]
        assert isinstance(ended, Finished)
        assert ended.cancelled
