"""Output on terminals: widths, wrapping, sanitising, the workbench without a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess

import pytest

from core.events import (
    AttemptEnded,
    GeneratedSample,
    Note,
)
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.byte_models import run_with_checkpoints
from tests.cli_runs import DONE, HOSTILE, LLMTUI, ROOT, TRAINED, made, spawn

pytestmark = pytest.mark.usefixtures("in_temporary_directory")


def in_terminal(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run the program with a terminal on all three streams; its exit code and what it wrote."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*LLMTUI, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    written = b""
    try:
        while piece := os.read(master, 65536):
            written += piece
    except OSError:
        pass  # how Linux says that the other end is closed
    os.close(master)
    return process.wait(), written.decode()


def cells(written: str) -> int:
    """Of the widest line; the terminal of `in_terminal` tells no size and counts as 80 columns wide."""
    return max(map(len, written.splitlines()))


def test_on_a_terminal_no_line_of_ls_show_or_watch_is_wider_than_it(workspace: Workspace) -> None:
    long = "the disk is full: there is room for 1.2 GB and the checkpoint takes 3.4 GB of it, which is too much"
    note = Note(
        tick=15, text="1 file with the text in 'body', beside 'title', 'id': a.csv; it begins: '" + "word " * 12
    )
    failed = AttemptEnded(tick=18, attempt=1, outcome="failed", what=long, exit_code=1)
    run = made(workspace, [*TRAINED[:-2], note, failed])
    code, listed = in_terminal("ls")
    assert code == 0 and cells(listed) <= 80
    assert run.id in listed and "LEFT" not in listed  # a column that says nothing
    assert long in " ".join(listed.split())
    for command in (["show", run.id], ["watch", "--plain", run.id]):
        _, output = in_terminal(*command)
        assert cells(output) <= 80 and long in " ".join(output.split()), output


def test_in_a_pipe_ls_keeps_its_columns_and_a_line_for_each_run(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    made(workspace, [*TRAINED[:-2], AttemptEnded(tick=18, attempt=1, outcome="failed", what="long " * 60, exit_code=1)])
    assert command_line(["ls"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[-3:] == ["MADE", "TAGS", "WHY"] and row.endswith("long")


def test_without_a_command_a_dumb_terminal_gets_the_list(workspace: Workspace) -> None:
    run = made(workspace, DONE)
    code, written = in_terminal(TERM="dumb")
    assert code == 0
    assert "the workbench needs a terminal" in written
    assert run.id in written
    assert "\x1b" not in written


def test_a_terminal_gets_a_models_text_sanitised_and_no_colour(workspace: Workspace) -> None:
    sample = GeneratedSample(tick=16, step=3, prompt="x", text=HOSTILE, temperature=1.0, top_k=0, top_p=1.0, seed=1)
    made(workspace, [*TRAINED[:-2], sample, AttemptEnded(tick=18, attempt=1, outcome="done")])
    code, written = in_terminal("watch", "--plain", NO_COLOR="1")
    assert code == 0
    assert "\x1b" not in written
    assert "␛]0;owned␇␛[2J<U+202E>gpj" in written


def test_doctor_checks_locks_and_data_and_says_ok(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["doctor", "--json"]) == 0
    records = {record["about"]: record for record in map(json.loads, capsys.readouterr().out.splitlines())}
    assert records["locks"]["level"] == "ok"
    assert records["terminal"]["level"] == "warn"  # a test has none
    assert "torch 2." in records["packages"]["what"]
    assert records["arithmetic"]["level"] == "ok"
    assert re.search(
        r"trains in (float32|bfloat16) .*bfloat16 is .* as float32 here .* GFLOP/s", records["arithmetic"]["what"]
    )


def test_logind_configuration_is_read_as_logind_reads_it() -> None:
    from llmtui.cli.doctor_checks import kills_user_processes

    assert not kills_user_processes("[Login]\n#KillUserProcesses=no\n")
    assert kills_user_processes("[Login]\n#KillUserProcesses=yes\n")
    assert kills_user_processes("#KillUserProcesses=no\n[Login]\nKillUserProcesses = yes\n")
    assert not kills_user_processes("KillUserProcesses=yes\n[Login]\nKillUserProcesses=no\n")
    assert not kills_user_processes("")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["completion", shell]) == 0
    assert "_LLMTUI_COMPLETE" in capsys.readouterr().out


def test_completion_knows_runs(workspace: Workspace) -> None:
    run = made(workspace, DONE)
    process = spawn(_LLMTUI_COMPLETE="bash_complete", COMP_WORDS="llmtui show ", COMP_CWORD="2")
    assert run.id in process.communicate()[0]


@pytest.mark.parametrize(
    ("arguments", "closing", "code"),
    [
        (["locate", "data"], ">&-", 0),
        (["locate", "data"], "</dev/null >/dev/full", 1),
        (["nope"], "2>&-", 2),
        (["nope"], "2>/dev/full", 2),
        (["rm", "tiny"], "<&-", 2),
        (["score", "-"], "<&-", 2),
    ],
)
def test_closed_and_full_streams_change_no_exit_code(
    workspace: Workspace, arguments: list[str], closing: str, code: int
) -> None:
    run_with_checkpoints(workspace, 100)
    command = ["sh", "-c", f'exec "$@" {closing}', "sh", *LLMTUI, *arguments]
    ended = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert ended.returncode == code, ended.stderr
    assert "should not have happened" not in ended.stderr and "Traceback" not in ended.stderr
    if closing.endswith(" >/dev/full"):
        assert ended.stderr == "llmtui: cannot write the result: no space left on device   (standard output)\n"
