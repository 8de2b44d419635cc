"""`llmtui ls`, `show`, `watch` and `locate`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from core.events import (
    AttemptEnded,
    Note,
    encode,
)
from core.runs.directory import Run
from core.runs.launches import Exited
from core.storage.journal import JournalWriter
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from llmtui.cli.run_output import EventFormatter
from tests.cli_runs import DONE, HOSTILE, TRAINED, made, spawn

pytestmark = pytest.mark.usefixtures("in_temporary_directory")


def test_ls_shows_each_run_with_state_and_figures(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    done = made(workspace, DONE)
    broken = made(workspace, TRAINED[:4], name="broken")
    assert command_line(["ls"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert "done" in lines[done.id] and "1.460" in lines[done.id]
    assert "interrupted" in lines[broken.id]


def test_ls_json_is_ascii_objects_with_a_schema(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(workspace, DONE)
    assert command_line(["ls", "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    record = json.loads(line)
    assert line.isascii()
    assert (record["schema"], record["id"], record["state"], record["bits_per_byte"]) == (1, run.id, "done", 1.46)


def test_ls_without_runs_says_how_to_start_one_and_prints_no_data(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["ls"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "llmtui demo" in captured.err


def test_show_tells_why_a_run_failed_and_what_to_do(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    ended = AttemptEnded(
        attempt=1, outcome="failed", what="cannot train: too big", where="here", todo="take less", exit_code=1
    )
    made(workspace, [*TRAINED[:8], ended])
    assert command_line(["show"]) == 0
    text = capsys.readouterr().out
    assert "cannot train: too big   (here)" in text
    assert "take less" in text


def test_show_draws_the_model_of_a_run(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(workspace, DONE)
    assert command_line(["show", run.id, "--model"]) == 0
    assert f"{run.recipe.model.n_layer} × block" in capsys.readouterr().out
    assert command_line(["show", run.id, "--model", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["steps"][0]["name"] == "ids" and record["vocabulary"]


def test_show_json_holds_recipe_summary_and_checkpoints(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    made(workspace, DONE)
    assert command_line(["show", "tiny", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["recipe"]["name"] == "tiny"
    assert record["summary"]["compression_baselines"] == {"gzip -9": 1.97, "xz -9": 1.68}
    assert record["checkpoints"] == []


def test_show_of_a_run_that_is_not_there_names_the_nearest(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    made(workspace, DONE)
    assert command_line(["show", "tinny"]) == 2
    assert "did you mean 'tiny'" in capsys.readouterr().err


def test_hostile_text_reaches_people_as_pictures(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    made(workspace, [*TRAINED[:8], Note(level="warning", text=HOSTILE)])
    command_line(["show"])
    command_line(["show", HOSTILE])
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert "␛]0;owned␇␛[2J<U+202E>gpj" in captured.out


def test_locate_prints_places_and_runs(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(workspace, DONE)
    for what, path in (("data", workspace.data), ("runs", workspace.runs), ("tiny", run.path)):
        assert command_line(["locate", what]) == 0
        assert capsys.readouterr().out == f"{path}\n"


def test_ls_names_runs_that_cannot_be_read_beside_the_good_ones(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, DONE)
    (workspace.runs / "20200101-000000-torn-ffff").mkdir()
    assert command_line(["ls"]) == 0
    output = capsys.readouterr()
    assert run.id in output.out
    assert "torn" in output.err
    assert "run.json" in output.err


def test_watch_json_prints_the_journal_and_ends_with_the_run(
    workspace: Workspace, alive: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    run = alive()
    process = spawn("watch", run.id, "--json")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    (run.path / "finish").touch()
    rest = process.stdout.read().splitlines()
    process.wait()
    assert (first["schema"], first["type"], first["device"]) == (1, "Started", "2 cores, float32")
    assert json.loads(rest[-1])["outcome"] == "done"
    assert len(rest) == len(TRAINED[:-5])
    assert process.returncode == 0


@pytest.mark.parametrize(("outcome", "code", "expected"), [("stopped", 3, 3), ("failed", 1, 1), ("failed", 2, 2)])
def test_watch_ends_with_the_exit_code_of_the_run(
    workspace: Workspace, outcome: str, code: int, expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    made(workspace, [*TRAINED[:8], AttemptEnded(attempt=1, outcome=outcome, what="cannot train: why", exit_code=code)])  # type: ignore[arg-type]
    assert command_line(["watch", "--json"]) == expected
    assert command_line(["watch", "--plain"]) == expected


def test_watch_plain_tells_the_story_and_prints_the_result(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, DONE)
    assert command_line(["watch", "--plain"]) == 0
    text = capsys.readouterr().out
    assert "download    up to date, 734 documents, 12.1 MB\n" in text
    assert "preprocess  done, 693 documents (3.0s)\n" in text
    assert "train       3.41M parameters, vocabulary 4,096, 3.00M training tokens\n" in text
    assert "train       expected    2.14M tokens in 2m00s\n" in text
    assert "embedding 1.05M, attention 786k, feed-forward 1.57M, norms 1.79k, output 1.05M\n" in text
    assert "step 3: validation loss 3.210 (training 3.100), perplexity 24.8, 1.460 bits per byte, best so far\n" in text
    assert "\ndef main():\n    pass\n" in text
    assert "bits per byte     1.460   (gzip -9 1.970, xz -9 1.680)\n" in text
    assert "3.0s, 4.10k tok/s\n" in text
    assert f"llmtui sample {run.id}" in text


def test_progress_is_told_every_five_seconds_of_the_workers_clock() -> None:
    formatter = EventFormatter()
    lines = [line for event in TRAINED for line in formatter.format(event) if "loss 8." in line]
    assert [line.split(",")[0] for line in lines] == ["train       step 3"]


def test_a_crashed_run_is_told_with_its_signal_and_log(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, TRAINED[:10])
    launches = JournalWriter(run.path / "launches.jsonl")
    launches.append(encode(Exited(attempt=1, code=-9, gave_up=True)))
    assert command_line(["watch", "--plain"]) == 1
    error = capsys.readouterr().err
    assert "failed: its worker ended with signal 9" in error
    assert str(run.log) in error
