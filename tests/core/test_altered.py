"""Artifacts whose content has changed but not their size are detected before they are read, and made again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import DiskError
from core.events import Event, Note, StageFinished
from core.jobs import prepare as prepare_module
from core.jobs.prepare import Prepared, prepare
from core.preprocess import compression_baselines
from core.recipe.schema import Recipe
from core.runs.artifacts import list_artifacts
from core.storage.artifact import AlteredArtifactError, Artifact
from core.storage.files import remove_tree
from core.storage.workspace import Workspace
from tests.core.stages import return_value

pytestmark = pytest.mark.heavy

Make = Callable[..., Recipe]


def flip(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def prepared(recipe: Recipe, workspace: Workspace) -> tuple[Prepared, list[Event]]:
    events: list[Event] = []
    stage = prepare(recipe, workspace)
    while True:
        try:
            events.append(next(stage))
        except StopIteration as end:
            return end.value, events


def contents(artifact: Artifact) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in artifact.files()}


@pytest.mark.parametrize("pattern", ["train-*.tokens", "validation-*.tokens", "vocabulary.json"])
def test_altered_tokens_are_made_again(workspace: Workspace, tiny: Make, pattern: str) -> None:
    tokens = return_value(prepare(tiny(), workspace)).tokens
    before = contents(tokens)
    flip(tokens.files(pattern)[0])
    again, events = prepared(tiny(), workspace)
    assert contents(again.tokens) == before
    assert [event.stage for event in events if isinstance(event, StageFinished)] == ["tokenize"]
    (note,) = [event for event in events if isinstance(event, Note)]
    assert note.level == "warning"
    assert "has changed since it was written; it is made again" in note.text


def test_altered_clean_text_is_made_again_before_tokenizing(workspace: Workspace, tiny: Make) -> None:
    first = return_value(prepare(tiny(), workspace))
    before = contents(first.tokens)
    flip(first.clean.files("train-*")[0])
    remove_tree(first.tokens.path)
    again, events = prepared(tiny(), workspace)
    assert contents(again.tokens) == before
    assert [event.stage for event in events if isinstance(event, StageFinished)] == ["preprocess", "tokenize"]


def test_altered_documents_are_made_again_before_cleaning(workspace: Workspace, tiny: Make) -> None:
    return_value(prepare(tiny(), workspace))
    (documents,) = (path for path in (workspace.artifacts / "documents").iterdir() if path.is_dir())
    flip(Artifact.open(documents).files()[0])
    other = tiny("preprocess.validation=0.2")
    _, events = prepared(other, workspace)
    assert [event.stage for event in events if isinstance(event, StageFinished)] == [
        *("download", "preprocess", "tokenize")
    ]


def test_unaltered_artifacts_are_not_made_again(workspace: Workspace, tiny: Make) -> None:
    return_value(prepare(tiny(), workspace))
    _, events = prepared(tiny(), workspace)
    assert not [event for event in events if isinstance(event, StageFinished | Note)]


def test_the_error_names_the_altered_file(workspace: Workspace, tiny: Make) -> None:
    tokens = return_value(prepare(tiny(), workspace)).tokens
    assert sum(tokens.verify()) == sum(file.stat().st_size for file in tokens.files())
    file = tokens.files("train-*")[0]
    flip(file)
    with pytest.raises(AlteredArtifactError, match=file.name):
        list(tokens.verify())


def test_a_stage_that_does_not_fit_the_disk_is_an_error_before_it_starts(
    workspace: Workspace, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_module, "free_bytes", lambda _: 5000)
    with pytest.raises(DiskError, match=r"too little room for the download stage: 5\.00 kB free of at least") as caught:
        return_value(prepare(tiny(), workspace))
    assert caught.value.where == str(workspace.data)
    assert not list_artifacts(workspace)  # no empty one that is unfinished


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "Input/output error")])
def test_compression_baselines_that_cannot_be_measured_are_left_out(
    workspace: Workspace, tiny: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    clean = return_value(prepare(tiny(), workspace)).clean

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("core.preprocess.compression_baselines.lzma.LZMACompressor", fail)
    (note,) = compression_baselines.measure(clean)
    assert isinstance(note, Note)
    assert "was not measured" in note.text
