"""`llmtui xray` over a checkpoint that is really there, answered by the real inference process."""

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
"""Tokens that would clear a screen, and half of a character; and ids that stand for nothing."""


@pytest.fixture
def run(workspace: Workspace) -> Run:
    """A run whose one checkpoint is untrained, and whose prompts are read as they come."""
    run = Run.create(workspace, Recipe(name="tiny", preprocess=Preprocess(steps=())))
    save_checkpoint(run.checkpoints, 7, SHAPE, HOSTILE, slice_loss=1.0)
    return run


def asked(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert command_line(["xray", *arguments]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def objects(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


EVERYTHING = ("--logit-lens", "--token-losses", "--attention", "1", "--attention", "2.2")
LONGER = ("--temperature", "2", "--top-p", "0.9", "--min-p", "0.01", "--frequency-penalty", "0.5", "--tokens", "2")


def test_the_steps_are_told_in_order_and_fit_the_terminal_whatever_the_tokens_are(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    prompt = f"Hello, hello, {MARK * 2} ünd"
    out, err = asked(capsys, prompt, "--run", "tiny", "--seed", "3", *EVERYTHING, *LONGER)
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


def test_as_json_each_thing_seen_is_an_object(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from standard input")))
    out, _ = asked(capsys, "-", "--run", "tiny", "--json", "--tokens", "3", "--seed", "5", "--logit-lens")
    told = objects(out)
    each = ["lastrow", "probabilities", "choice", "lens", "lens", "lens", "appended"]
    assert [one["type"] for one in told] == ["loaded", "tokens", "outputs", *3 * each]
    assert (told[0]["step"], told[1]["dropped"]) == (7, 3)


def test_the_models_picture_adds_up(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    total = parameters(SHAPE, HOSTILE.size).total
    out, _ = asked(capsys, "--weights", "--run", "tiny")
    assert out.count(f"{total:,}") == 2
    assert "h.1.mlp.c_proj" in out
    assert max(map(len, out.splitlines())) <= 80


def test_what_cannot_be_shown_is_said_in_a_sentence(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("0", "1.0", "x", "1.2.3", "-1"):
        assert "is not LAYER or LAYER.HEAD" in asked(capsys, "a", "--attention", wrong, code=2)[1]
    assert "there is no checkpoint of step 8" in asked(capsys, "a", "--checkpoint", "8", code=2)[1]
    _, err = asked(capsys, "a", "--attention", "3", code=1)
    assert "cannot inspect the model: there is no layer 3" in err
    assert "this model has the layers 1 to 2" in err


def test_a_prompt_that_is_no_text_is_refused_in_a_sentence(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ab\xff")))
    assert "cannot read the text: it is not UTF-8 text (byte 2)" in asked(capsys, "-", code=2)[1]


@pytest.mark.parametrize(
    "besides",
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
def test_the_models_picture_takes_nothing_that_would_change_nothing_in_it(
    run: Run, capsys: pytest.CaptureFixture[str], besides: list[str]
) -> None:
    assert "--weights takes no prompt" in asked(capsys, "--weights", *besides, code=2)[1]


def test_the_newest_checkpoint_that_can_be_read_is_looked_into(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run.checkpoints / "step-00000009"
    shutil.copytree(run.checkpoints / "step-00000007", folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, io.SEEK_END)
        file.write(b"\xff")
    out, err = asked(capsys, "a", "--json")
    assert objects(out)[0]["checkpoint"] == str(run.checkpoints / "step-00000007")
    assert err.count("skipping step-00000009: model.safetensors has changed since it was written") == 1


def test_the_process_stops_looking_when_it_is_told_to_and_answers_others_meanwhile(
    run: Run, workspace: Workspace
) -> None:
    place = str(run.checkpoints / "step-00000007")
    endless = Sampling(tokens=1_000_000, logit_bias={300: -1000.0})
    with serving(workspace) as child:
        child.say(
            InspectPrompt(id=1, checkpoint=place, prompt="a", sampling=endless, options=InspectOptions(logit_lens=True))
        )
        while not isinstance(child.next(), Inspected):
            pass
        child.say(InspectModel(id=2, checkpoint=place))
        assert isinstance(child.answer(2)[-1], Finished)
        child.say(Cancel(id=1))
        ended = child.answer(1)[-1]
        assert isinstance(ended, Finished)
        assert ended.cancelled
