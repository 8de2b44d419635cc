"""Runs of other machines on the screens, and the list of these machines."""

from __future__ import annotations

import time

import msgspec
import pytest

from core.remote.hosts import Connection, HostFile, MirroredHost
from core.runs.directory import Run
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.view.host_text import host_facts, host_lines, host_row
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
    assert host_row(host_facts(host))[1] == "not connected"
    host.write_connection(connected())
    assert host_row(host_facts(host))[1] == "not connected", "the process that wrote it is gone"
    host.write_connection(msgspec.structs.replace(connected(), clock=-90.0))
    with hold(host.lock):
        row = host_row(host_facts(host))
        lines = host_lines(host_facts(host))
    assert row[2] == "2 active"
    assert "its clock is 1m30s behind this one: times of its runs are its" in lines
    host.write_connection(Connection(why=WHY))
    with hold(host.lock):
        assert "\x1b" not in host_row(host_facts(host))[1]


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
        await until(pilot, lambda: "F copies the newest one here" in " ".join(screen_text(app).split()))
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
