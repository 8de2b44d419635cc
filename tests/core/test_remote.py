"""Runs of another machine: what the host sends, and the run directories that the mirror makes of it."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.checkpoints import readable_checkpoints
from core.remote.growing_file import continues, mirrored_files, write_at
from core.remote.host import RunSender
from core.remote.messages import (
    Appended,
    CheckpointFile,
    CheckpointSent,
    FetchCheckpoint,
    FromHost,
    Mirrored,
    MirrorProtocolError,
    PutRequest,
    RemoveRequest,
    RunDescription,
    RunProcesses,
    StartRun,
    receive,
    send,
    skip_to_greeting,
)
from core.remote.run_mirror import RunMirror, parse_run_file
from core.runs.control import (
    read_answer,
    request_fetch,
    request_pause,
    request_resume,
    request_stop,
    request_unpause,
)
from core.runs.directory import Run, RunState
from core.runs.errors import RemoteRunError
from core.runs.launch import LaunchError, kill, start
from core.runs.queue import NotQueuedError, move, waiting
from core.runs.remote_state import (
    RemoteCheckpoint,
    RemoteState,
    describe_checkpoint,
    inference_checkpoints,
    read_remote_state,
)
from core.storage.workspace import Workspace
from llmtui.view.run_snapshot import take_snapshot
from tests.ui.fake_runs import FakeWorker, finished_run, hold, make_checkpoint, make_run, metric, write_launch


@pytest.fixture
def far(tmp_path: Path) -> Workspace:
    """The data directory of another machine."""
    return Workspace(tmp_path / "far").prepare()


def delivered(messages: list[FromHost], mirror: RunMirror | None, workspace: Workspace) -> RunMirror:
    """The mirror after it has received `messages`, each through its bytes."""
    for message in messages:
        pipe = io.BytesIO()
        send(pipe, message)
        pipe.seek(0)
        match receive(pipe):
            case RunDescription(run=run, content=content) if mirror is None:
                mirror = RunMirror.create(workspace, "gpu1", run, content)
            case RunDescription(content=content):
                assert mirror
                mirror.describe(content)
            case Appended() as appended:
                assert mirror
                mirror.append(appended)
            case RunProcesses() as processes:
                assert mirror
                mirror.write_snapshots()
                mirror.set_processes(processes)
    assert mirror
    return mirror


def test_a_mirror_of_a_finished_run_shows_the_same(far: Workspace, workspace: Workspace) -> None:
    original = finished_run(far, "bard", steps=60)
    mirror = delivered(list(RunSender(original, {}).news()), None, workspace)
    run = Run.open(workspace.runs / original.id)
    assert (run.host, run.recipe, run.state()) == ("gpu1", original.recipe, RunState.DONE)
    assert run.journal.read_bytes() == original.journal.read_bytes()
    assert run.summary().metric == original.summary().metric
    curves, reader = run.load_curves()
    assert len(curves.loss) == 60
    assert reader.events() == [], "the curves are made of the whole journal"
    state = RemoteState(checkpoints=tuple(map(describe_checkpoint, readable_checkpoints(original.checkpoints))))
    assert list(RunSender(original, mirror.files).news())[1:] == [
        RunProcesses(original.id, False, False, False, state)
    ], "what the mirror has is not sent again"


def test_a_run_that_ends_where_nobody_sees_it_has_no_connection(far: Workspace, workspace: Workspace) -> None:
    original = make_run(far, "bard")
    write_launch(original)
    FakeWorker(original).write_events(metric(1, 10))
    mirror = delivered(list(RunSender(original, {}).news()), None, workspace)
    mirror.set_processes(RunProcesses(original.id, True, True, False, RemoteState()))
    mirror.disconnect()
    run = Run.open(workspace.runs / original.id)
    assert run.state() is RunState.UNREACHABLE
    workspace.hosts.joinpath("gpu1").mkdir(parents=True)
    with hold(workspace.hosts / "gpu1" / "connection.lock"):
        assert run.state() is RunState.INTERRUPTED, "its processes were killed on the host"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory that examples share; the mirror is a folder in it."""
    run = make_run(Workspace(tmp_path_factory.mktemp("shared")).prepare(), "a")
    (run.path / "mirror").mkdir()
    return run.path


@given(changes=st.lists(st.one_of(st.binary(min_size=1, max_size=9000), st.integers(0, 100)), max_size=8))
@settings(max_examples=40)
def test_what_is_mirrored_is_what_the_host_has(directory: Path, changes: list[bytes | int]) -> None:
    """Appended to, and truncated as by a power cut, while mirrored and between two connections."""
    journal, mirrored = directory / "journal.jsonl", directory / "mirror" / "journal.jsonl"
    journal.write_bytes(b"")
    mirrored.write_bytes(b"")
    sender = RunSender(Run.open(directory), {})
    for number, change in enumerate(changes):
        if isinstance(change, bytes):
            with journal.open("ab") as file:
                file.write(change)
        else:
            data = journal.read_bytes()
            journal.write_bytes(data[: len(data) * change // 100])
        if number % 2:  # a new connection
            sender = RunSender(Run.open(directory), mirrored_files(mirrored.parent))
        for message in sender.news():
            if isinstance(message, Appended):
                write_at(mirrored, message.offset, message.data)
    sender = RunSender(Run.open(directory), mirrored_files(mirrored.parent))
    for message in sender.news():
        if isinstance(message, Appended):
            write_at(mirrored, message.offset, message.data)
    assert mirrored.read_bytes() == journal.read_bytes()


def test_a_file_that_is_another_one_is_sent_again(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_bytes(b"one\n")
    known = mirrored_files(tmp_path)["log.txt"]
    assert continues(file, known)
    file.write_bytes(b"two\nthree\n")
    assert not continues(file, known)
    assert continues(tmp_path / "missing", Mirrored(0, 0))
    with pytest.raises(OSError, match="ends before byte 100"):
        write_at(file, 100, b"x")


def test_requests_reach_the_host_once(far: Workspace, workspace: Workspace) -> None:
    original = make_run(far, "bard")
    mirror = delivered(list(RunSender(original, {}).news()), None, workspace)
    run = mirror.run
    request_stop(run)
    request_pause(run)
    request_resume(run)
    request_fetch(run, "best")
    assert list(mirror.requests()) == [
        PutRequest(run.id, "pause", b""),
        FetchCheckpoint(run.id, "best"),
        StartRun(run.id),
        PutRequest(run.id, "stop", b""),
    ]
    assert list(mirror.requests()) == []
    mirror.set_processes(RunProcesses(run.id, True, True, False, RemoteState()))
    assert run.pause_requested, "what the host said before it heard of the request changes nothing"
    request_unpause(run)
    assert list(mirror.requests()) == [RemoveRequest(run.id, "pause")]
    mirror.disconnect()


def test_a_pause_on_the_host_is_one_here(far: Workspace, workspace: Workspace) -> None:
    original = make_run(far, "bard")
    mirror = delivered(list(RunSender(original, {}).news()), None, workspace)
    for paused in (True, False):
        mirror.set_processes(RunProcesses(original.id, True, True, paused, RemoteState()))
        assert mirror.run.pause_requested is paused
        assert list(mirror.requests()) == []
    mirror.disconnect()


def test_a_checkpoint_arrives_whole_or_not_at_all(far: Workspace, workspace: Workspace) -> None:
    original = make_run(far, "bard")
    make_checkpoint(original, 20)
    checkpoint = original.checkpoints / "step-00000020"
    mirror = delivered(list(RunSender(original, {}).news()), None, workspace)
    sent = CheckpointSent(original.id, checkpoint.name)
    files = [
        CheckpointFile(original.id, checkpoint.name, path.name, 0, path.read_bytes()) for path in checkpoint.iterdir()
    ]
    mirror.add_checkpoint_file(msgspec.structs.replace(files[0], data=files[0].data + b"damage"))
    mirror.add_checkpoint_file(files[1])
    mirror.finish_checkpoint(sent)
    assert (answer := read_answer(mirror.run)) and answer.error
    assert not (mirror.run.checkpoints / checkpoint.name).exists()
    for file in files:
        mirror.add_checkpoint_file(file)
    mirror.finish_checkpoint(sent)
    assert (answer := read_answer(mirror.run)) and (answer.error, answer.checkpoint) == ("", checkpoint.name)
    assert {path.name for path in (mirror.run.checkpoints / checkpoint.name).iterdir()} == {
        path.name for path in checkpoint.iterdir()
    }


def test_a_run_that_waits_on_the_host_is_queued_with_its_place(far: Workspace, workspace: Workspace) -> None:
    original = make_run(far, "bard")
    sender = RunSender(original, {})
    mirror = delivered(list(sender.news()), None, workspace)
    with hold(original.path / "supervisor.lock", mirror.run.path / "supervisor.lock"):
        delivered(list(sender.news(queue_place=2)), mirror, workspace)
        snapshot = take_snapshot(mirror.run)
        assert (snapshot.state, snapshot.queue_place) == (RunState.QUEUED, 2)
        assert waiting(workspace.runs) == [], "no run of this machine waits behind it"
        with pytest.raises(NotQueuedError, match="waits on gpu1"):
            move(mirror.run, -1)
        delivered(list(sender.news()), mirror, workspace)
        assert mirror.run.state() is RunState.STARTING
    mirror.disconnect()


def test_the_checkpoints_of_the_host_are_known_here(far: Workspace, workspace: Workspace) -> None:
    original = make_run(far, "bard")
    sender = RunSender(original, {})
    mirror = delivered(list(sender.news()), None, workspace)
    for steps in ([20], [20, 40]):
        make_checkpoint(original, steps[-1])
        delivered(list(sender.news()), mirror, workspace)
        listed = inference_checkpoints(mirror.run)
        assert [checkpoint.path.name for checkpoint in listed] == [f"step-{step:08d}" for step in steps]
        assert listed[-1].facts["slice_loss"] == readable_checkpoints(original.checkpoints)[-1].facts["slice_loss"]
    nan, good = float("nan"), RemoteCheckpoint(step=60, made_at=1e9)
    implausible = [
        RemoteCheckpoint(step=-1, made_at=1e9),
        RemoteCheckpoint(step=2**62, made_at=1e9),
        RemoteCheckpoint(step=1, made_at=nan),
        RemoteCheckpoint(step=1, made_at=1e9, slice_loss=nan),
    ]
    state = RemoteState(queue_place=-5, checkpoints=(*implausible, good))
    mirror.set_processes(RunProcesses(original.id, False, False, False, state))
    assert read_remote_state(mirror.run.path) == RemoteState(checkpoints=(good,))


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", ".x", "a\x1b[2J"])
def test_a_host_writes_nowhere_but_into_its_runs(far: Workspace, workspace: Workspace, name: str) -> None:
    original = make_run(far, "bard")
    mirror = delivered(list(RunSender(original, {}).news()), None, workspace)
    before = sorted(workspace.data.rglob("*"))
    mirror.add_checkpoint_file(CheckpointFile(original.id, "step-00000020", name, 0, b"x"))
    mirror.add_checkpoint_file(CheckpointFile(original.id, name, "x", 0, b"x"))
    mirror.append(Appended(original.id, name, 0, b"x"))
    assert RunMirror.create(workspace, "gpu1", name, (original.path / "run.json").read_bytes()) is None
    assert sorted(workspace.data.rglob("*")) == before


def test_a_run_of_this_machine_is_never_taken_for_a_mirror(far: Workspace, workspace: Workspace) -> None:
    run = make_run(workspace, "bard")
    description = (run.path / "run.json").read_bytes()
    assert RunMirror.create(workspace, "gpu1", run.id, description) is None
    assert parse_run_file(description.replace(b'"schema": 1', b'"schema": 99'), "gpu1") is None


def test_what_only_the_host_can_do_is_refused(far: Workspace, workspace: Workspace) -> None:
    original = make_run(far, "bard")
    run = delivered(list(RunSender(original, {}).news()), None, workspace).run
    with pytest.raises(RemoteRunError, match="is on gpu1"):
        kill(run)
    with pytest.raises(RemoteRunError, match="is on gpu1"):
        run.rewrite(run.recipe, 2)
    with pytest.raises(LaunchError, match="gpu1 is not connected"):
        start(run, workspace)


def test_what_a_shell_prints_at_its_start_is_skipped() -> None:
    assert skip_to_greeting(io.BytesIO(b"Last login: today\nWelcome!\nllmtui mirror\n"))
    assert not skip_to_greeting(io.BytesIO(b"Welcome!\n" * 100_000))
    with pytest.raises(MirrorProtocolError, match="a message of"):
        receive(io.BytesIO(b"Segmentation fault\n"))
    with pytest.raises(MirrorProtocolError):
        receive(io.BytesIO(b"\0\0\0\1\xc1"))
