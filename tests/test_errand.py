"""Heavy work in a child process: what it says arrives, what goes wrong is a sentence, nothing outlives its caller."""

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
from llmtui.clients.child_job import errand
from tests.waiting import wait_for

ROOT = Path(__file__).parent.parent


def test_what_it_says_arrives_and_what_libraries_print_does_not(workspace: Workspace) -> None:
    said = list(errand(workspace, "tests.errands", "fine", says=AnyEvent))
    assert [event.text for event in said if isinstance(event, Note)] == ["begun"] and len(said) == 1
    assert "chatters" in (workspace.state / "errands.log").read_text()


@pytest.mark.parametrize(
    ("task", "sentence", "code"),
    [
        ("trouble", "cannot go on: it is taken   (here)\n        all of it\n        wait", 75),
        ("surprise", "an error nobody foresaw: ZeroDivisionError: by zero", 1),
        ("nonsense", "its process said what is no answer: Expected `str`, got `int`", 1),
        ("full", "cannot write: no space left on device   (/somewhere)", 1),
    ],
)
def test_what_goes_wrong_is_the_same_sentence_on_this_side(
    workspace: Workspace, task: str, sentence: str, code: int
) -> None:
    with pytest.raises(LlmtuiError) as caught:
        list(errand(workspace, "tests.errands", task, says=AnyEvent))
    assert sentence in caught.value.sentence() and caught.value.exit_code == code


def test_what_goes_wrong_is_said_where_its_log_is_on_a_full_disk() -> None:
    command = [sys.executable, "-m", "tests.errands", "surprise"]
    with Path("/dev/full").open("wb") as full:
        child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=full)
    assert child.stdout is not None and child.stdin is not None
    with child.stdin, child.stdout:
        last = json.loads(child.stdout.read().splitlines()[-1])
    # whichever comes first: the task's own end, or that its chatter finds no room
    assert last["type"] == "Failed" and ("ZeroDivisionError" in last["what"] or "no space left" in last["what"])
    child.wait()


def test_leaving_the_loop_ends_the_child(workspace: Workspace) -> None:
    before = psutil.Process().children()
    talk = errand(workspace, "tests.errands", "forever", says=AnyEvent)
    next(talk)
    [child] = [one for one in psutil.Process().children() if one not in before]
    talk.close()
    assert not child.is_running()


def test_the_child_ends_when_its_caller_is_killed(workspace: Workspace) -> None:
    program = (
        "from core.events import AnyEvent; from core.storage.workspace import Workspace; "
        "from llmtui.clients.child_job import errand\n"
        "for said in errand(Workspace(), 'tests.errands', 'forever', says=AnyEvent): print('.', flush=True)"
    )
    caller = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
    assert caller.stdout is not None and caller.stdout.read(1)
    [child] = psutil.Process(caller.pid).children()
    os.kill(caller.pid, signal.SIGKILL)
    caller.wait()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, what="the child ends")
