"""Targets: what their templates start, which names are refused, and how a run on one is ended or continued."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.events import AttemptEnded
from core.recipe.checks import RecipeError
from core.recipe.deadline import deadline_time
from core.recipe.schema import Recipe
from core.runs.control import request_requeue
from core.runs.directory import Run, RunState
from core.storage.workspace import Workspace
from core.targets.ssh import failure_on_host, run_on_host
from core.targets.start import Plan, plan_start, run_on_target
from core.targets.template import TargetError, find_target, template_files
from llmtui.cli.commands.placement import PlacementError, resolve_placement
from llmtui.cli.main import run as command_line
from tests.core.test_worker import ATTEMPT, metric, run_worker

RUN = Path("/data of mine/runs/20261129-1200-$x")


def start(name: str, workspace: Workspace, *, nodes: int = 2, processes: int = 4) -> Plan:
    target = find_target(name, workspace)
    assert target is not None
    return plan_start(target, RUN, 3, nodes=nodes, processes=processes, environment={"LLMTUI_HOME": "/data of mine"})


def own_target(workspace: Workspace, name: str, text: str) -> None:
    (workspace.config / "targets").mkdir(parents=True, exist_ok=True)
    (workspace.config / "targets" / f"{name}.toml").write_text(text)


def test_ssh_starts_torchrun_on_each_host_with_its_rank_and_one_rendezvous(workspace: Workspace) -> None:
    plan = start("ssh:ann@one,two", workspace)
    assert [command[:2] + command[-2:-1] for command in plan.commands] == [
        ["ssh", "-o", "ann@one"],
        ["ssh", "-o", "two"],
    ]
    shells = [shlex.split(command[-1]) for command in plan.commands]
    assert [[word for word in words if word.startswith("--node-rank")] for words in shells] == [
        ["--node-rank=0"],
        ["--node-rank=1"],
    ]
    endpoints = {word for words in shells for word in words if word.startswith("--rdzv-endpoint")}
    assert len(endpoints) == 1 and endpoints.pop().startswith("--rdzv-endpoint=one:")
    for words in shells:
        assert {"--nnodes=2", "--nproc-per-node=2", "LLMTUI_HOME=/data of mine"} <= set(words)
        assert words[-4:] == ["-m", "core.worker", str(RUN), "3"]


def test_a_slurm_job_quotes_paths_and_takes_the_options_of_a_target_of_ones_own(workspace: Workspace) -> None:
    own_target(workspace, "mine", 'extends = "slurm"\noptions = ["--account=x", "--gpus-per-node={processes}"]\n')
    plan = start("mine:big", workspace)
    assert plan.commands == [["sbatch", "--wait", "--quiet", str(RUN / "job.sh")]]
    lines = plan.script.splitlines()
    assert lines[0] == "#!/bin/bash"
    assert {"#SBATCH --account=x", "#SBATCH --gpus-per-node=2", "#SBATCH --partition=big"} <= set(lines)
    assert f'#SBATCH --output="{RUN}/log.txt"' in lines
    # what bash makes of the script, with srun as a program that prints its last argument
    program = 'srun() { printf "%s" "${@: -1}"; }\n' + plan.script
    shell = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert shell.stdout.startswith(f"cd {shlex.quote(str(RUN))} && ")
    assert "--node-rank=$SLURM_NODEID" in shell.stdout and "scontrol show hostnames" in shell.stdout
    assert plan.running == ["squeue", "--noheader", "--name", RUN.name, "--format", "%A"]


def test_every_shipped_target_can_be_filled_in(workspace: Workspace) -> None:
    for name in template_files(workspace):
        argument = {"ssh": ":one,two", "sky": ":mine"}.get(name, "")
        assert start(name + argument, workspace).commands, name


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("slum", "there is no target 'slum'"),
        ("ssh", "hosts are missing"),
        ("ssh:one,,two", "'' is not the name"),
        ("ssh:-oProxyCommand=x", "'-oProxyCommand=x' is not the name"),
        ("ssh:a;rm", "'a;rm' is not the name"),
        ("slurm:a b", "'a b' is not the name of a partition"),
        ("loop", "extends itself"),
        ("wrong", "unknown field `nods`"),
        ("field", "invalid field"),
    ],
)
def test_an_invalid_target_is_refused_by_name(workspace: Workspace, name: str, what: str) -> None:
    own_target(workspace, "loop", 'extends = "pool"\n')
    own_target(workspace, "pool", 'extends = "loop"\n')
    own_target(workspace, "wrong", 'extends = "slurm"\nnods = 2\n')
    own_target(workspace, "field", 'description = ""\ncommand = ["echo", "{nobody}"]\n')
    with pytest.raises(TargetError, match=what):
        start(name, workspace)


def test_processes_are_divided_evenly_among_nodes(workspace: Workspace) -> None:
    assert resolve_placement("local", None, 3, workspace).processes == 3
    place = resolve_placement("ssh:one,two", None, None, workspace)
    assert (place.nodes, place.processes) == (2, 2)
    with pytest.raises(PlacementError, match="3 processes cannot be divided evenly among 2 nodes"):
        resolve_placement("ssh:one,two", None, 3, workspace)
    with pytest.raises(PlacementError, match="--nodes 3 does not fit 2 hosts"):
        resolve_placement("ssh:one,two", 3, None, workspace)


@pytest.mark.parametrize(
    ("code", "errors", "what", "todo"),
    [
        (255, "ssh: connect to host x port 22: No route to host\n", "x cannot be reached", "ssh x"),
        (255, "ann@x: Permission denied (publickey).\n", "does not accept a key", "ssh-copy-id x"),
        (255, "Host key verification failed.\n", "is not known or has changed", "ssh x"),
        (127, "bash: /a/python: No such file or directory\n", "has no llmtui", "pip install llmtui=="),
        (1, "/a/python: No module named core\n", "has no llmtui", "pip install llmtui=="),
        (1, "OSError: disk\n", "the command failed there: OSError: disk", ""),
    ],
)
def test_what_ssh_says_becomes_a_sentence_with_the_next_step(code: int, errors: str, what: str, todo: str) -> None:
    error = failure_on_host("x", code, errors)
    assert what in error.what and todo in error.todo


def test_arguments_reach_the_other_host_as_they_are(tmp_path: Path) -> None:
    """An ssh that runs its last argument in a shell, as sshd does, and which ends with it."""
    program = ("sh", "-c", 'exec sh -c "exec $2"', "ssh")
    assert run_on_host("one", ["printf", "%s|", "a b", "$HOME", "'"], ssh=program) == b"a b|$HOME|'|"
    assert run_on_host("one", ["cat"], data=b"in", ssh=program) == b"in"
    with pytest.raises(TargetError, match="has not answered within"):
        run_on_host("one", ["sleep", "60"], ssh=program, seconds=0.2)


def test_when_one_node_fails_its_code_counts_and_a_job_given_up_is_cancelled(tmp_path: Path) -> None:
    log = (tmp_path / "log").open("ab")
    assert run_on_target(Plan(commands=[["true"], ["sh", "-c", "exit 7"]]), log, lambda: False) == 7
    cancelled = tmp_path / "cancelled"
    plan = Plan(commands=[["sleep", "600"]], cancel=["touch", str(cancelled)])
    assert run_on_target(plan, log, lambda: True) == -15
    assert cancelled.exists()


def test_an_earlier_job_of_the_run_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.targets.start.CHECK_EVERY", 0.01)
    job = tmp_path / "job"
    job.touch()
    plan = Plan(
        commands=[["sh", "-c", f"[ ! -e {job} ]"]],
        running=["sh", "-c", f"[ -e {job} ] && echo 1; rm -f {job}"],
    )
    with (tmp_path / "log").open("ab") as log:
        assert run_on_target(plan, log, lambda: False) == 0


def test_a_run_that_makes_room_ends_without_a_last_event_and_can_be_started_again(
    workspace: Workspace, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(workspace, tiny())
    request_requeue(run)
    assert run_worker(run, [*ATTEMPT, metric(8)], monkeypatch) == 4
    assert run.end_event() is None and run.state() is RunState.CREATED
    assert not (run.control / "requeue").exists()


def test_a_run_stops_before_its_deadline_and_says_so(
    workspace: Workspace,
    tiny: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 4))
    run = Run.create(workspace, tiny(f"train.deadline={soon}"))
    assert run_worker(run, [*ATTEMPT, metric(8)], monkeypatch) == 3
    ended = run.end_event()
    assert isinstance(ended, AttemptEnded)
    assert (ended.outcome, ended.what) == ("stopped", f"train.deadline = {soon}")
    passed = Run.create(workspace, tiny("train.deadline=2020-01-01T08:00"))
    assert run_worker(passed, ATTEMPT, monkeypatch) == 2
    ended = passed.end_event()
    assert ended is not None and "has passed" in ended.what and "train.deadline=none" in ended.todo
    with pytest.raises(RecipeError, match="is not a time"):
        tiny("train.deadline=tomorrow")


def test_a_time_of_day_is_the_next_one() -> None:
    noon = time.mktime((2026, 11, 29, 12, 0, 0, 0, 0, -1))
    assert deadline_time("13:30", noon) - noon == 1.5 * 3600
    assert deadline_time("11:30", noon) - noon == 23.5 * 3600
    assert deadline_time("2026-11-30T12:00", noon) - noon == 24 * 3600


def test_targets_are_listed_and_an_unusable_one_is_an_error(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command_line(["targets"]) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == {"local", "sky", "slurm", "ssh"}
    own_target(workspace, "gone", 'description = ""\ncommand = ["no-such-program"]\n')
    assert command_line(["targets", "gone"]) == 1
    assert "there is no no-such-program on this machine" in capsys.readouterr().out
    assert command_line(["run", "stories", "--on", "sslurm"]) == 2
    assert "did you mean 'slurm'?" in capsys.readouterr().err
