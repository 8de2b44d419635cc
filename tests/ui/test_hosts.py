"""Runs of other machines on the screens, and the list of these machines."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
import pytest

from core import ROOT, __version__
from core.remote.hosts import Connection, HostFile, MirroredHost
from core.runs.directory import Run
from core.runs.remote_state import RemoteCheckpoint, RemoteState, write_remote_state
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.widgets.prompt import PromptInput
from llmtui.view.host_text import host_lines, host_row, host_status
from tests.ui.chatting import FAKE_INFERENCE_PROCESS, ask
from tests.ui.fake_runs import FakeWorker, hold, make_run, metric, reading, write_launch
from tests.ui.pilot import screen_text, until

WHY = "me@gpu1.lab: Permission denied (publickey). \x1b]0;owned\x07"


@pytest.fixture
def host(workspace: Workspace) -> MirroredHost:
    return MirroredHost.create(workspace, "gpu1", HostFile(address="me@gpu1.lab"))


def connected() -> Connection:
    return Connection(
        connected=True, since=time.time(), machine="NVIDIA H200, 139 GiB", version="0.1.0", active=2, reading=reading()
    )


def mirrored_run(workspace: Workspace, host: str) -> Run:
    """A run of another machine, of which nothing is heard."""
    run = make_run(workspace, "bard")
    write_launch(run)
    FakeWorker(run).write_events(metric(20, 100))
    (run.path / "run.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(run.file, host=host)))
    return Run.open(run.path)


def test_a_host_says_how_it_is(host: MirroredHost) -> None:
    assert host_row(host_status(host))[1] == "not connected"
    host.write_connection(connected())
    assert host_row(host_status(host))[1] == "not connected", "the process that wrote it is gone"
    host.write_connection(msgspec.structs.replace(connected(), clock=-90.0))
    with hold(host.lock):
        row = host_row(host_status(host))
        lines = host_lines(host_status(host))
    assert row[2] == "2 active"
    assert "its clock is 1m30s behind this one: times of its runs are its" in lines
    host.write_connection(Connection(why=WHY))
    with hold(host.lock):
        assert "\x1b" not in host_row(host_status(host))[1]


async def test_runs_of_other_machines_on_the_screens(workspace: Workspace, host: MirroredHost) -> None:
    run = mirrored_run(workspace, host.name)
    app = Workbench(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "bard @gpu1" in screen_text(app))
        assert "No connection to gpu1" in " ".join(screen_text(app).split())
        await pilot.press("F")
        await until(pilot, lambda: "gpu1 is not connected" in screen_text(app))
        await pilot.press("escape")
        assert not list(run.control.iterdir()), "it is not asked for later, unawares"
        await pilot.press("5")
        await until(pilot, lambda: "No checkpoint of this run is known on gpu1" in " ".join(screen_text(app).split()))
        await pilot.press("escape", "1")
        host.write_connection(connected())
        with hold(host.lock):
            await pilot.press("H")
            await until(pilot, lambda: "2 active" in screen_text(app))
            for size in ((80, 24), (40, 10), (200, 60)):
                await pilot.resize_terminal(*size)
                await until(pilot, lambda: "connected since" in screen_text(app))
        host.write_connection(Connection(why=WHY))
        await until(pilot, lambda: "llmtui hosts connect gpu1" in " ".join(screen_text(app).split()))
        await pilot.press("escape")


def save_there(run: Run, *steps: int) -> None:
    """Let the host of a mirrored run have checkpoints of these steps."""
    checkpoints = tuple(RemoteCheckpoint(step=step, made_at=1e9, slice_loss=5.0) for step in steps)
    write_remote_state(run.path, RemoteState(checkpoints=checkpoints))


async def test_the_chat_with_a_run_of_another_machine_is_answered_there(workspace: Workspace, tmp_path: Path) -> None:
    fake, ssh = tmp_path / "fake.py", tmp_path / "ssh"
    fake.write_text(FAKE_INFERENCE_PROCESS)
    ssh.write_text(
        f"#!/bin/sh\ntest -e {tmp_path}/down && {{ echo 'ssh: connect to host: \033[2JNo route' >&2; exit 255; }}\n"
        f"echo Welcome; echo llmtui inference {__version__}; PYTHONPATH={ROOT} exec {sys.executable} {fake}\n"
    )
    ssh.chmod(0o755)
    MirroredHost.create(workspace, "gpu1", HostFile(address="me@gpu1.lab", ssh=(str(ssh),)))
    run = mirrored_run(workspace, "gpu1")
    save_there(run, 200)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(200, 60)) as pilot:
        shows = await ask(pilot, "once")
        await shows("step 200 (newest, best), on gpu1")
        await shows("seed=1 step=200")
        save_there(run, 200, 400)
        await shows("step 400 (newest, best), on gpu1")
        await ask(pilot, "twice")
        await shows("step=400")
        await ask(pilot, "die")
        await shows("the inference process on gpu1 ended with code 3; try again")
        (tmp_path / "down").touch()
        await ask(pilot, "again")
        await shows("me@gpu1.lab cannot be reached")
        await shows("try again, it connects anew")
        (tmp_path / "down").unlink()
        await ask(pilot, "healed")
        await until(pilot, lambda: screen_text(app).count("step=400") == 2)
        assert isinstance(app.focused, PromptInput)
        assert not list(run.checkpoints.iterdir()), "no weights are copied"
