"""The artifacts of a workspace are listed with the runs that use them, and only unused ones are deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.events import StageFinished
from core.runs.artifacts import (
    ArtifactBusyError,
    ArtifactUsedError,
    StoredArtifact,
    artifact_name,
    artifact_path,
    list_artifacts,
    remove_artifact,
    users_of,
)
from core.runs.directory import Run
from core.storage.artifact import Staging
from core.storage.workspace import Workspace
from llmtui.view import artifact_text
from tests.ui.fake_runs import FakeWorker, make_run


def make_artifact(workspace: Workspace, folder: str, stage: str, name: str = "books-0123456789abcdef") -> Path:
    staging = Staging(workspace.artifacts / folder / name, stage, "0123456789abcdef", recipe={"corpus": "books"})
    with staging.open() as out:
        out.publish("x", lambda path: path.write_text("text"))
        return out.finish({"documents": 3, "bytes": 4}).path


def using(workspace: Workspace, path: Path, name: str = "bard") -> Run:
    run = make_run(workspace, name)
    FakeWorker(run).write_events(StageFinished(stage="download", artifact=str(path), facts={}))
    return run


def listed(workspace: Workspace, *runs: Run) -> list[StoredArtifact]:
    return list_artifacts(workspace, users_of((run.name, run.summary()) for run in runs))


def test_an_artifact_is_listed_with_its_size_content_recipe_and_runs(workspace: Workspace) -> None:
    path = make_artifact(workspace, "documents", "download")
    (artifact,) = listed(workspace, using(workspace, path))
    assert (artifact.name, artifact.stage, artifact.bytes, artifact.runs) == ("books", "download", 4, ("bard",))
    assert artifact_text.content(artifact) == "3 documents" and artifact_text.users(artifact) == "used by bard"
    assert artifact_text.settings(artifact)[0] == ("source.corpus", "books")


def test_artifacts_of_one_corpus_stand_together_in_the_order_of_the_stages(workspace: Workspace) -> None:
    for folder, stage in (("tokens", "tokenize"), ("documents", "download"), ("clean", "preprocess")):
        make_artifact(workspace, folder, stage)
    make_artifact(workspace, "documents", "download", "almanac-0123456789abcdef")
    found = [(artifact.name, artifact.stage) for artifact in listed(workspace)]
    assert found == [
        ("almanac", "download"),
        ("books", "download"),
        ("books", "preprocess"),
        ("books", "tokenize"),
    ]


def test_an_artifact_that_a_run_uses_is_not_deleted(workspace: Workspace) -> None:
    path = make_artifact(workspace, "documents", "download")
    run = using(workspace, path)
    with pytest.raises(ArtifactUsedError, match="bard uses it"):
        remove_artifact(workspace, listed(workspace)[0])
    run.remove()
    remove_artifact(workspace, listed(workspace)[0])
    assert not path.exists() and not listed(workspace)


def test_the_artifact_of_a_run_is_found_where_the_data_directory_was_moved(workspace: Workspace) -> None:
    path = make_artifact(workspace, "documents", "download")
    run = using(workspace, path)
    assert artifact_path(run, run.summary(), "download") == str(path)
    assert artifact_path(run, run.summary(), "tokenize") == ""
    moved = workspace.data.rename(workspace.data.with_name("moved"))
    run = Run.open(moved / "runs" / run.id)
    assert artifact_path(run, run.summary(), "download") == str(moved / path.relative_to(workspace.data))


def test_an_unfinished_artifact_is_listed_as_such(workspace: Workspace) -> None:
    path = make_artifact(workspace, "clean", "preprocess")
    (path / "manifest.json").unlink()
    path.rename(path.with_name(f"{path.name}.partial"))
    (artifact,) = listed(workspace)
    assert artifact.state == "unfinished" and artifact.name == "books" and artifact.bytes == 4


def test_a_damaged_artifact_is_listed_with_the_damage_and_can_be_deleted(workspace: Workspace) -> None:
    path = make_artifact(workspace, "documents", "download")
    (path / "x").write_text("longer text")
    (artifact,) = listed(workspace)
    assert artifact_text.content(artifact) == "damaged: x has 11 bytes instead of 4"
    remove_artifact(workspace, artifact)
    assert not listed(workspace)


def test_an_artifact_that_is_being_made_is_not_deleted(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    make_artifact(workspace, "documents", "download")
    monkeypatch.setattr("core.storage.locks.Lock.acquire", lambda path: None)
    with pytest.raises(ArtifactBusyError):
        remove_artifact(workspace, listed(workspace)[0])
    assert listed(workspace)


def test_the_name_of_a_part_made_on_another_machine_keeps_the_part() -> None:
    assert artifact_name(Path("tiny-0123456789abcdef.part-2-of-4")) == "tiny.part-2-of-4"
    assert artifact_name(Path("tiny-books-0123456789abcdef")) == "tiny-books"
