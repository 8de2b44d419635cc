"""`llmtui run`, `demo`, `recipe` and `plan`, and errors about recipes and sources."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from core.errors import DiskError
from core.events import AttemptStarted, Metric, ModelInfo
from core.recipe.file import load
from core.recipe.schema import Source
from core.runs.lookup import all_runs
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.cli_runs import made

pytestmark = pytest.mark.usefixtures("in_temporary_directory")


def test_plan_counts_a_recipe_without_starting_it(capsys: pytest.CaptureFixture[str], workspace: Workspace) -> None:
    assert command_line(["plan", "--preset", "gpt2", "--set", "train.precision=float32"]) == 0
    text = capsys.readouterr().out
    assert "parameters  124,439,808\n" in text
    assert "854M per token" in text
    assert "512 sequences" in text
    assert command_line(["plan", "--set", "model.n_embd=80000", "--set", "tokenize.vocabulary=characters"]) == 0
    text = capsys.readouterr().out
    assert "257 entries (an estimate" in text
    assert "does not fit; this would: --set model.n_embd=" in text
    assert list(all_runs(workspace)) == []


def test_plan_has_tokens_and_time_at_the_speed_of_earlier_runs(
    capsys: pytest.CaptureFixture[str], workspace: Workspace
) -> None:
    recipe = ["plan", "--preset", "demo", "--set", "train.minutes=none", "--set", "train.steps=1000"]
    assert command_line(recipe) == 0
    text = capsys.readouterr().out
    assert "time        no run here has measured a speed: the first one does\n" in text
    assert "tokens      2.05M tokens in 1.00k steps of 2,048\n" in text
    assert "GiB" not in text, "what is needed and what is there are in one unit"
    shape = ModelInfo(parameters=1, flops_per_token=6_290_000, vocabulary=4096, tokens=1)
    trained = Metric(step=10, loss=1, lr=1e-3, grad_norm=1, tokens=204_800, seconds=20, progress=1)
    made(workspace, [AttemptStarted(attempt=1, pid=1, host="here", device="2 cores, float32"), shape, trained], "fast")
    assert command_line(recipe) == 0
    text = capsys.readouterr().out
    assert "time        about 3m20s, at the 64.4 GFLOP/s of fast on 2 cores, float32\n" in text
    assert command_line(["plan", "--preset", "demo", "--set", "train.minutes=1"]) == 0
    assert "time        about 1m00s, at" in capsys.readouterr().out, "not to the end of the step that goes past it"


def test_plan_of_a_source_that_is_not_there_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["plan", "no-such-file.txt"]) == 2
    assert "there is no such file or folder" in capsys.readouterr().err


def test_plan_json_has_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["plan", "--preset", "gpt2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert sum(result["parameters"].values()) == 124_439_808
    assert {one["precision"] for one in result["options"]} == {"float32", "bfloat16"}
    assert result["flops_per_token"] == sum(result["flops_per_token_by_part"].values()) == 854_438_400
    assert result["flops_are"] == "forward and backward"
    assert result["schema"] == 2  # in 1 flops_per_token was a table


def test_plan_draws_the_architecture_and_explains_its_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["plan", "--preset", "gpt2", "--picture"]) == 0
    text = capsys.readouterr().out
    assert "[ masked multi-head attention            ] │ │  28.3M   23%   283M   33%" in text
    assert "  softmax(q kᵀ / sqrt(64) + mask) v\n  q: (512, 12, 1,024, 64)\n" in text
    assert max(map(len, text.splitlines())) <= 100
    assert command_line(["plan", "--preset", "gpt2", "--picture", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    parts = {step["name"]: step for step in record["steps"]}
    assert parts["h"]["parameters"] == sum(parts[name]["parameters"] for name in ("ln_1", "attn", "ln_2", "mlp"))
    assert sum(step["flops"] for name, step in parts.items() if name != "h") == 854_438_400


def test_a_home_that_is_a_file_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLMTUI_HOME", str(tmp_path / "file"))
    assert command_line(["ls"]) == 1
    message = capsys.readouterr().err
    assert "not a directory" in message and "LLMTUI_HOME" in message and "free some space" not in message


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EACCES, "who may write"),
        (errno.EROFS, "make it writable"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EIO, "llmtui doctor"),
    ],
)
def test_what_to_do_about_a_disk_fits_what_is_wrong_with_it(number: int, advice: str) -> None:
    assert advice in DiskError.from_oserror(OSError(number, os.strerror(number)), "x").sentence()


@pytest.mark.parametrize("field", ["train.seed", "source.seed", "preprocess.seed"])
def test_a_seed_beyond_64_bits_is_refused_before_anything_starts(
    field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["plan", "--set", f"{field}={2**64}"]) == 2
    assert "is more than 9,223,372,036,854,775,807" in capsys.readouterr().err


def test_recipe_prints_a_file_that_gives_the_same_recipe(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["recipe", "--preset", "demo", "--set", "train.lr=3e-4"]) == 0
    (tmp_path / "again.toml").write_text(capsys.readouterr().out)
    assert load(file=tmp_path / "again.toml") == load(preset="demo", overrides=["train.lr=3e-4"])


def test_relative_corpus_in_a_recipe_is_meant_from_the_recipes_folder(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "my.toml").write_text('[source]\ncorpus = "text.txt"\n')
    assert command_line(["recipe", "deep/my.toml"]) == 0
    (tmp_path / "printed.toml").write_text(capsys.readouterr().out)
    printed = load(file=tmp_path / "printed.toml")
    assert printed.source == Source(corpus=str(tmp_path / "deep" / "text.txt"))
    assert printed.name == "my"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "stdlyb"], ["there is no such file or folder", "did you mean 'stdlib'?"]),
        (["run", "missing.toml"], ["there is no such file", "missing.toml"]),
        (["run", "wrong.toml"], ["unknown field 'train.lrr'", "wrong.toml", "did you mean 'train.lr'?"]),
        (["run", "typed.toml"], ["train.steps = 'many' is not a whole number at least 1", "typed.toml"]),
        (["run", "broken.toml"], ["not TOML", "broken.toml"]),
        (["run", "stdlib", "--set", "model.n_embd=100", "--set", "model.n_head=12"], ["n_embd = 96 or 108"]),
        (["run", "stdlib", "--set", "train.lr"], ["--set needs FIELD=VALUE"]),
        (["run", "stdlib", "--name", "No Name"], ["'No Name' is not a name"]),
        (["run", "stdlib", "--preset", "dmo"], ["there is no preset 'dmo'", "did you mean 'demo'?"]),
        (["run", "stdlib", "--workbench"], ["cannot open the workbench"]),
        (["run"], ["Missing argument 'RECIPE|SOURCE'"]),
        (["demo", "--set", "train.minutes=0"], ["train.minutes = 0 is not a number above 0"]),
        (["paint"], ["No such command 'paint'"]),
        (["show"], ["there are no runs yet"]),
        (["sample"], ["there are no runs yet"]),
        (["run", "\udcff"], ["not UTF-8"]),
    ],
)
def test_wrong_requests_are_told_in_sentences_and_start_nothing(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: list[str]
) -> None:
    (tmp_path / "wrong.toml").write_text("[train]\nlrr = 1\n")
    (tmp_path / "typed.toml").write_text('[train]\nsteps = "many"\n')
    (tmp_path / "broken.toml").write_text("[train\n")
    assert command_line(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    for part in ["llmtui: ", *message]:
        assert part in captured.err
    assert "Traceback" not in captured.err
    assert list(workspace.runs.iterdir()) == []


def test_a_data_directory_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLMTUI_HOME", str(tmp_path / "file" / "home"))
    assert command_line(["demo"]) == 1
    error = capsys.readouterr().err
    assert "cannot use the data directory: not a directory" in error
    assert "set LLMTUI_HOME" in error
    assert command_line(["doctor"]) == 1


def test_an_unforeseen_error_is_one_line_and_a_log(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("llmtui.cli.commands.show.iter_runs", lambda _: [0 / 0])  # any error nobody thought of
    assert command_line(["ls"]) == 1
    captured = capsys.readouterr()
    log = workspace.state / "llmtui.log"
    assert "Traceback" not in captured.err and str(log) in captured.err
    assert "ZeroDivisionError" in log.read_text()
