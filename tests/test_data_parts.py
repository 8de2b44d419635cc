"""`llmtui data prepare --on TARGET --parts N`: parts made on targets, of which only missing ones are made again."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from core.errors import BusyError
from core.events import AnyEvent, Progress
from core.jobs import prepare, prepare_part
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from core.targets.parts import PartsJob, run_parts
from core.targets.template import find_target
from llmtui.cli.commands.recipe_argument import resolve, with_absolute_source
from llmtui.cli.main import run as command_line
from llmtui.clients.child_job import run_child_job
from tests.core.stages import file_digests
from tests.waiting import wait_for

SMALL = ("--set", "tokenize.size=300")
"""Gives two shards of tokens: one of each split."""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "a corpus"
    folder.mkdir()
    for n in range(20):
        (folder / f"{n:02d}.txt").write_text("".join(f"line {k} of document {n}\n" for k in range(20)))
    return folder


@pytest.fixture
def own_target(workspace: Workspace) -> Callable[[str, str], None]:
    """Writes a target of one's own, by its name."""

    def write(name: str, text: str) -> None:
        (workspace.config / "targets").mkdir(parents=True, exist_ok=True)
        (workspace.config / "targets" / f"{name}.toml").write_text(f'description = "of tests"\n{text}')

    return write


def left_parts(workspace: Workspace) -> list[str]:
    return [path.name for path in (workspace.artifacts / "tokens").iterdir() if ".part-" in path.name and path.is_dir()]


@pytest.mark.heavy
def test_parts_of_a_target_are_merged_to_what_one_process_makes(
    corpus: Path,
    workspace: Workspace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert command_line(["data", "prepare", str(corpus), *SMALL, "--on", "local", "--parts", "2"]) == 0
    captured = capsys.readouterr()
    assert "part 1 is complete, 1 of 2" in captured.err and "part 2 is complete, 2 of 2" in captured.err
    assert "took over 2 of 2 shards" in captured.err
    merged = Artifact.open(Path(captured.out.strip()), verify=True)
    assert not left_parts(workspace) and not list((workspace.data / "prepare").iterdir())
    assert command_line(["data", "prepare", str(corpus), *SMALL, "--on", "local", "--parts", "2"]) == 0
    again = capsys.readouterr()
    assert again.out == captured.out and again.err.count("up to date") == 3
    monkeypatch.setenv("LLMTUI_HOME", str(tmp_path / "another"))
    assert command_line(["data", "prepare", str(corpus), *SMALL]) == 0
    whole = Artifact.open(Path(capsys.readouterr().out.strip()), verify=True)
    assert file_digests(merged) == file_digests(whole)


@pytest.mark.heavy
def test_a_part_that_fails_is_named_and_only_it_is_made_again(
    corpus: Path, workspace: Workspace, own_target: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = msgspec.json.encode(with_absolute_source(resolve(str(corpus), None, SMALL[1:]))).decode()
    for part in ("0", "1"):
        list(run_child_job(workspace, "core.jobs.data_commands", "prepare", recipe, part, "2", result_type=AnyEvent))
    own_target("mine", 'command = ["sh", "-c", "echo lost its disk; exit 3"]\n')
    command = ["data", "prepare", str(corpus), *SMALL, "--parts", "2", "--on"]
    assert command_line([*command, "mine"]) == 1
    error = capsys.readouterr().err
    assert "part 2 of 2 is not complete: lost its disk" in error
    assert "1 of 2 parts are complete and kept" in error and "the same command continues" in error
    assert command_line([*command, "local"]) == 0
    text = capsys.readouterr().err
    assert "1 of 2 parts on local" in text and "part 2 is complete, 2 of 2" in text
    assert "part 1 is complete" not in text and "cleaning the documents" not in text
    assert not left_parts(workspace)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--parts", "2"], "--parts needs --on"),
        (["--on", "slurm"], "--on slurm needs --parts"),
        (["--on", "local", "--parts", "2", "--part", "1/2"], "--part makes one part here"),
        (["--on", "slum", "--parts", "2"], "there is no target 'slum'"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    corpus: Path, options: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["data", "prepare", str(corpus), *options]) == 2
    assert what in capsys.readouterr().err


def job(workspace: Workspace, folder: Path, target: str) -> PartsJob:
    return PartsJob(
        target=find_target(target, workspace),
        folder=folder,
        recipe=folder / "recipe.json",
        parts=4,
        id="prepare-x",
        environment={"LLMTUI_HOME": "/a home"},
    )


def test_slurm_gets_the_missing_parts_as_an_array_without_the_options_of_trainings(
    workspace: Workspace, tmp_path: Path, own_target: Callable[[str, str], None]
) -> None:
    own_target("mine", 'extends = "slurm"\noptions = ["--gpus=8"]\npart_options = ["--cpus-per-task=4"]\n')
    target = find_target("mine:big", workspace)
    assert target is not None
    folder = tmp_path / "a $folder"
    command, script = job(workspace, folder, "mine:big").command(target, [2, 4], "")
    assert command == ["sbatch", "--wait", "--quiet", str(folder / "job.sh")]
    lines = script.splitlines()
    assert {"#SBATCH --array=2,4", "#SBATCH --cpus-per-task=4", "#SBATCH --partition=big"} <= set(lines)
    assert "--gpus" not in script
    program = 'srun() { printf "%s" "${@: -1}"; }\n' + script  # what bash makes of it
    shell = subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, check=True, env={"SLURM_ARRAY_TASK_ID": "4"}
    ).stdout
    assert shell.startswith(f"cd {shlex.quote(str(folder))} && LLMTUI_HOME='/a home'")
    assert shell.endswith(
        '$SLURM_ARRAY_TASK_ID 4 "control-$SLURM_ARRAY_TASK_ID" >>"part-$SLURM_ARRAY_TASK_ID.log" 2>&1'
    )
    folder.mkdir()
    (folder / "control-4").mkdir()
    trap = script[script.index("make_room()") : script.index("trap")] + "make_room"
    subprocess.run(["bash", "-c", trap], check=True, env={"SLURM_ARRAY_TASK_ID": "4"})
    assert (folder / "control-4" / "requeue").exists()


def test_another_host_makes_what_failed_on_one(
    workspace: Workspace, tmp_path: Path, own_target: Callable[[str, str], None]
) -> None:
    command = """["sh", "-c", 'echo "{host} {parts}"; test {host} = two']"""
    own_target("pair", f'argument = "hosts"\nstart = "node"\ncommand = {command}\n')
    with (tmp_path / "job.log").open("ab") as log:
        for _ in run_parts(job(workspace, tmp_path, "pair:one,two"), [1, 2, 3], log):
            pass
    lines = (tmp_path / "job.log").read_text().split("\n")
    assert len([line for line in lines if line.startswith("one")]) == 1
    assert {line for line in lines if line.startswith("two")} == {"two 1", "two 2", "two 3"}


def test_closing_ends_what_was_started_and_cancels_the_job(
    workspace: Workspace, tmp_path: Path, own_target: Callable[[str, str], None]
) -> None:
    own_target("mine", 'command = ["sleep", "600"]\ncancel = ["echo", "cancelled", "{id}"]\n')
    with (tmp_path / "job.log").open("ab") as log:
        steps = run_parts(job(workspace, tmp_path, "mine"), [1], log)
        next(steps)
        steps.close()
    assert (tmp_path / "job.log").read_text() == "cancelled prepare-x\n"


def test_a_part_ends_when_its_standard_input_does(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "recipe.json")  # reading it waits for ever
    arguments = [str(tmp_path / "recipe.json"), "1", "2", str(tmp_path / "control"), "--attached"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "core.jobs.prepare_part", *arguments], stdin=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.close()
    wait_for(lambda: process.poll() is not None, what="its end")


def test_a_part_whose_time_is_over_ends_between_two_shards(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_bytes(msgspec.json.encode(Recipe()))
    done: list[int] = []

    def events(*_: object) -> object:
        for number in range(5):
            if number == 2:
                (tmp_path / "control" / "requeue").touch()  # by the script of the job
            yield Progress(done=number, total=5, unit="bytes")
            done.append(number)

    monkeypatch.setattr(prepare, "prepare", events)
    monkeypatch.setattr(sys, "argv", ["", str(recipe), "1", "2", str(tmp_path / "control")])
    assert prepare_part.main() == BusyError.exit_code
    assert done == [0, 1] and "what is complete is kept" in capsys.readouterr().err
    monkeypatch.setattr(prepare, "prepare", lambda *_: (event for event in list[AnyEvent]()))
    assert prepare_part.main() == 0  # the request was for the start before
