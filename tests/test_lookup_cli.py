"""Which run a command takes for a name, and how it describes runs that have ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.events import AttemptEnded, AttemptStarted, Event, Progress, StageFinished, StageStarted
from core.init.resolve import resolve_init
from core.recipe.file import load
from core.runs.control import request_pause
from core.runs.directory import Run, RunState
from core.runs.lookup import find_run
from core.storage.files import write_atomic
from core.storage.workspace import Workspace
from llmtui.cli.commands.lookup import run_with_checkpoint
from llmtui.cli.main import run as command_line
from llmtui.server.registry import ModelRegistry
from tests.byte_models import run_with_checkpoints
from tests.cli_runs import made
from tests.ui.fake_runs import hold_locks

STARTED = AttemptStarted(tick=0, attempt=1, pid=1, host="here", device="2 cores, float32")
WORKING = StageStarted(tick=1, stage="download")
FAILED: list[Event] = [
    STARTED,
    WORKING,
    AttemptEnded(tick=2, attempt=1, outcome="failed", what="the source is gone", exit_code=1),
]


def newer(run: Run) -> Run:
    """The same run, renamed as if it had been created after all others."""
    return Run.open(run.path.rename(run.path.with_name("2099" + run.id[4:])))


@pytest.mark.parametrize(
    "command",
    [
        ["sample", "tiny", "a"],
        ["xray", "a", "--run", "tiny"],
        ["score", "text.txt", "--run", "tiny"],
        ["chat", "tiny"],
        ["data", "export", "tiny"],
        ["vocab", "report", "tiny"],
        ["vocab", "compare", "tiny", "bytes", "--on", "text.txt"],
        ["vocab", "compare", "bytes", "--on", "tiny"],
    ],
)
def test_a_failed_run_is_never_described_as_running(
    workspace: Workspace, command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.cache)
    Path("text.txt").write_text("some text\n")
    run = made(workspace, FAILED)
    assert command_line(command) in (1, 2)
    message = capsys.readouterr().err
    assert "(failed: the source is gone)" in message and f"llmtui resume {run.id} tries again" in message
    assert "llmtui watch" not in message and "how far it is" not in message


@pytest.mark.parametrize(
    ("events", "state", "next_step"),
    [
        ([STARTED, WORKING, AttemptEnded(attempt=1, outcome="stopped", exit_code=3)], "stopped", "llmtui resume"),
        ([STARTED, WORKING], "interrupted", "llmtui resume"),
        ([STARTED, WORKING, AttemptEnded(attempt=1, outcome="done")], "done", "llmtui show"),
    ],
)
def test_a_run_without_a_checkpoint_is_described_by_its_state(
    workspace: Workspace, events: list[Event], state: str, next_step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, events)
    assert command_line(["sample"]) == 1
    message = capsys.readouterr().err
    assert f"there is no checkpoint yet ({state})" in message and f"{next_step} {run.id}" in message
    with hold_locks(run):
        assert command_line(["sample"]) == 1
        doing = "running" if state == "interrupted" else "ending"  # its end event is written
        assert f"({doing})   ({run.id})\n        llmtui watch {run.id} shows" in capsys.readouterr().err


def test_a_stage_of_a_failed_run_is_shown_as_broken_off(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, FAILED)
    assert command_line(["show"]) == 0
    assert "download    interrupted\n" in capsys.readouterr().out
    with hold_locks(run):
        assert command_line(["show"]) == 0
        assert "download    working\n" in capsys.readouterr().out


def test_a_stage_of_a_stopped_run_is_shown_as_stopped(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    begun = [STARTED, StageStarted(tick=1, stage="train"), Progress(tick=2, done=6, total=7, unit="steps")]
    made(workspace, [*begun, AttemptEnded(tick=3, attempt=1, outcome="stopped", exit_code=3)])
    assert command_line(["show"]) == 0
    assert "train       stopped at 86%\n" in capsys.readouterr().out


def test_the_newest_run_of_a_name_with_a_checkpoint_is_taken_and_named(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    good = run_with_checkpoints(workspace, 100)
    bad = newer(made(workspace, FAILED))
    for wanted in ("tiny", "TINY", None):
        assert run_with_checkpoint(workspace, wanted).id == good.id
        message = capsys.readouterr().err
        assert message == f"{bad.id} has no checkpoint (failed: the source is gone); taking {good.id}\n"
    assert run_with_checkpoint(workspace, bad.id).id == bad.id, "an id means that run"
    assert find_run(workspace, "tiny").id == bad.id
    assert resolve_init("run:Tiny", workspace.cache, workspace) == f"run:{good.id}"
    assert resolve_init("run:tiny@100", workspace.cache, workspace) == f"run:{good.id}@100"
    newest = newer(newer(run_with_checkpoints(workspace, 200)))
    assert resolve_init("run:tiny@100", workspace.cache, workspace) == f"run:{good.id}@100"
    offers = ModelRegistry(workspace, [])
    assert offers.find("tiny").run.id == newest.id and offers.find("tiny@100").run.id == good.id


def test_the_newest_run_of_a_name_with_the_data_is_taken_and_named(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    place = workspace.artifacts / "tokens" / "words-0123456789abcdef"
    place.mkdir(parents=True)
    good = made(workspace, [STARTED, StageFinished(stage="tokenize", artifact=str(place), facts={})])
    newer(made(workspace, FAILED))
    assert command_line(["vocab", "report", "tiny"]) == 1, "there is no report in it"
    message = capsys.readouterr().err
    assert f"has no tokens data (failed: the source is gone); taking {good.id}" in message and str(place) in message
    place.rmdir()
    assert command_line(["vocab", "report", good.id]) == 2
    assert "what its tokenize stage made is no longer there" in capsys.readouterr().err


def test_pause_and_resume_take_the_active_run_of_a_name(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    living, dead = made(workspace, [STARTED, WORKING]), newer(made(workspace, FAILED))
    with hold_locks(living):
        for command in (["pause", "tiny"], ["resume", "tiny"], ["pause"], ["resume"]):
            assert command_line(command) == 0
            message = capsys.readouterr().err
            assert living.id in message and dead.id not in message
            assert living.state() is (RunState.PAUSED if command[0] == "pause" else RunState.RUNNING)
        request_pause(living)
        assert command_line(["resume", dead.id, "--set", "train.foo=1"]) == 2, "an id means that run"
        assert living.state() is RunState.PAUSED


def test_names_match_in_any_case_and_are_stored_in_lower_case(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "Upper.toml"
    file.write_text('name = "Bard"\n')
    assert load(file=file).name == load(overrides=["name=BARD"]).name == load(base={"name": "Bard"}).name == "bard"
    run = Run.create(workspace, load(file=file))
    for wanted in ("Bard", "bard", "BA", run.id.upper()):
        assert command_line(["locate", wanted]) == 0
        assert capsys.readouterr().out == f"{run.path}\n"
    assert command_line(["data", "export", "BART"]) == 2
    assert "did you mean 'bard'?" in capsys.readouterr().err
    assert command_line(["run", "stdlib", "--name", "My Run"]) == 2
    assert "'My Run' is not a name" in (message := capsys.readouterr().err) and "such as my-run" in message


def test_a_run_that_cannot_be_read_is_named_with_the_reason_by_a_part_of_its_id_or_its_name(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    made(workspace, FAILED, "other")
    broken = made(workspace, FAILED, "broken")
    (broken.path / "run.json").write_text('{"recipe": {')
    for name in (broken.id, broken.id[:-5], "broken"):
        assert command_line(["sample", name, "a"]) == 1
        error = capsys.readouterr().err
        assert "run.json cannot be read" in error and f"llmtui rm {broken.id}" in error
    assert command_line(["show", "other"]) == 0


def test_a_run_that_has_ended_has_no_speed(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(workspace, FAILED)
    write_atomic(run.path / "status.json", json.dumps({"tokens_per_second": 99.0}).encode())
    assert command_line(["ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens_per_second"] is None
