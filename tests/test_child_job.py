"""run_child_job: results, errors, and the end of the child with its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from core.errors import LlmtuiError
from core.events import AnyEvent, Note
from core.storage.workspace import Workspace
from llmtui.clients.child_job import LOG_NAME, run_child_job
from tests.waiting import wait_for

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parent.parent


def test_results_are_yielded_and_printed_text_goes_to_the_log(workspace: Workspace) -> None:
    events = list(run_child_job(workspace, "tests.child_jobs", "fine", result_type=AnyEvent))
    assert [event.text for event in events if isinstance(event, Note)] == ["begun"] and len(events) == 1
    assert "chatters" in (workspace.state / LOG_NAME).read_text()


@pytest.mark.parametrize(
    ("task", "sentence", "code"),
    [
        ("busy", "cannot continue: it is taken   (here)\n        all of it\n        wait", 75),
        ("unexpected", "an unexpected error: ZeroDivisionError: by zero", 1),
        ("invalid", "the child process printed an invalid line: Expected `str`, got `int`", 1),
        ("full", "cannot write: no space left on device   (/somewhere)", 1),
    ],
)
def test_errors_of_the_child_are_raised_in_the_parent(
    workspace: Workspace, task: str, sentence: str, code: int
) -> None:
    with pytest.raises(LlmtuiError) as caught:
        list(run_child_job(workspace, "tests.child_jobs", task, result_type=AnyEvent))
    assert sentence in caught.value.sentence() and caught.value.exit_code == code


def test_errors_are_reported_if_the_disk_of_the_log_is_full() -> None:
    command = [sys.executable, "-m", "tests.child_jobs", "unexpected"]
    with Path("/dev/full").open("wb") as full:
        child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=full)
    assert child.stdout is not None and child.stdin is not None
    with child.stdin, child.stdout:
        last = json.loads(child.stdout.read().splitlines()[-1])
    # whichever comes first: the task's own error, or that of its print
    assert last["type"] == "Failed" and ("ZeroDivisionError" in last["what"] or "no space left" in last["what"])
    child.wait()


def test_closing_the_generator_ends_the_child(workspace: Workspace) -> None:
    before = psutil.Process().children()
    job = run_child_job(workspace, "tests.child_jobs", "forever", result_type=AnyEvent)
    next(job)
    [child] = [one for one in psutil.Process().children() if one not in before]
    job.close()
    assert not child.is_running()


def test_the_child_ends_when_its_parent_is_killed(workspace: Workspace) -> None:
    program = (
        "from core.events import AnyEvent; from core.storage.workspace import Workspace; "
        "from llmtui.clients.child_job import run_child_job\n"
        "job = run_child_job(Workspace(), 'tests.child_jobs', 'forever', result_type=AnyEvent)\n"
        "for event in job: print('.', flush=True)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None and parent.stdout.read(1)
    [child] = psutil.Process(parent.pid).children()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, what="the child ends")
