"""Tags, notes and the archived mark of a run."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.runs.annotations import (
    FILE,
    AnnotationBusyError,
    AnnotationError,
    Annotations,
    change_annotations,
    read_annotations,
    with_note,
    with_tags,
)
from core.storage.workspace import Workspace
from tests.ui.fake_runs import hold_locks, make_run


def test_a_run_without_annotations_has_none(tmp_path: Path) -> None:
    assert read_annotations(tmp_path) == Annotations()
    assert list(tmp_path.iterdir()) == []


def test_annotations_are_read_as_they_were_written(tmp_path: Path) -> None:
    change_annotations(tmp_path, lambda known: with_tags(known, ["Baseline", "lr-sweep"]))
    change_annotations(tmp_path, lambda known: with_note(known, "  first try\nwith warm-up "))
    change_annotations(tmp_path, lambda known: with_note(known, "a spike", 300))
    change_annotations(tmp_path, lambda known: with_note(known, "falls again", 20))
    change_annotations(tmp_path, lambda known: replace(known, archived=True))
    found = read_annotations(tmp_path)
    assert found.tags == ("baseline", "lr-sweep")
    assert found.note == "first try\nwith warm-up"
    assert list(found.step_notes.items()) == [(20, "falls again"), (300, "a spike")]
    assert found.archived
    change_annotations(tmp_path, lambda known: with_note(with_tags(known, (), ["BASELINE", "absent"]), "", 300))
    assert read_annotations(tmp_path) == replace(found, tags=("lr-sweep",), step_notes={20: "falls again"})


@pytest.mark.parametrize("tag", ["", "two words", "-x", "+x", "\x1b[2J", "a" * 33, "a,b"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(AnnotationError):
        with_tags(Annotations(), [tag])


def test_a_note_that_is_too_long_is_refused_and_the_old_one_kept(tmp_path: Path) -> None:
    change_annotations(tmp_path, lambda known: with_note(known, "kept"))
    with pytest.raises(AnnotationError, match="10,001 characters"):
        change_annotations(tmp_path, lambda known: with_note(known, "x" * 10_001))
    assert read_annotations(tmp_path).note == "kept"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"tags": 3}', b"\xff"])
def test_a_damaged_file_reads_as_no_annotations_and_is_not_overwritten(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE).write_bytes(damage)
    assert read_annotations(tmp_path) == Annotations()
    with pytest.raises(AnnotationError):
        change_annotations(tmp_path, lambda known: with_tags(known, ["a"]))
    assert (tmp_path / FILE).read_bytes() == damage


def test_no_change_of_several_threads_is_lost(tmp_path: Path) -> None:
    def add(number: int) -> None:
        change_annotations(tmp_path, lambda known: with_tags(known, [f"t{number}"]))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_annotations(tmp_path).tags) == 8


def test_an_active_run_can_be_annotated(workspace: Workspace) -> None:
    run = make_run(workspace, "live")
    before = (run.path / "run.json").read_bytes()
    with hold_locks(run):
        change_annotations(run.path, lambda known: with_tags(known, ["a"]))
        assert read_annotations(run.path).tags == ("a",)
    assert (run.path / "run.json").read_bytes() == before


def test_another_program_that_keeps_the_file_locked_is_reported(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.runs.annotations.LOCK_TIMEOUT", 0.0)
    run = make_run(workspace, "busy")
    (run.path / ".annotations.lock").symlink_to(run.path / "writer.lock")
    with pytest.raises(Exception, match="symbolic"):  # a link is not followed
        change_annotations(run.path, lambda known: known)
    (run.path / ".annotations.lock").unlink()
    (run.path / ".annotations.lock").hardlink_to(run.path / "writer.lock")
    with hold_locks(run), pytest.raises(AnnotationBusyError):
        change_annotations(run.path, lambda known: known)
