"""Artifacts whose bytes have changed though their sizes have not: noticed before they are read, and made again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import DiskError
from core.events import Event, Note, StageFinished
from core.jobs import prepare as stages
from core.jobs.prepare import Prepared, prepare
from core.preprocess import compression_baselines
from core.recipe.schema import Recipe
from core.storage.artifact import AlteredArtifactError, Artifact
from core.storage.files import remove_tree
from core.storage.workspace import Workspace
from tests.core.stages import return_value

Make = Callable[..., Recipe]


def flip(path: Path) -> None:
    """One bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def prepared(recipe: Recipe, workspace: Workspace) -> tuple[Prepared, list[Event]]:
    said: list[Event] = []
    talk = prepare(recipe, workspace)
    while True:
        try:
            said.append(next(talk))
        except StopIteration as end:
            return end.value, said


def contents(artifact: Artifact) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in artifact.files()}


@pytest.mark.parametrize("pattern", ["train-*.tokens", "validation-*.tokens", "vocabulary.json"])
def test_tokens_that_have_changed_are_made_again(workspace: Workspace, tiny: Make, pattern: str) -> None:
    tokens = return_value(prepare(tiny(), workspace)).tokens
    before = contents(tokens)
    flip(tokens.files(pattern)[0])
    again, said = prepared(tiny(), workspace)
    assert contents(again.tokens) == before
    assert [event.stage for event in said if isinstance(event, StageFinished)] == ["tokenize"]
    (note,) = [event for event in said if isinstance(event, Note)]
    assert note.level == "warning"
    assert "has changed since it was written; it is made again" in note.text


def test_clean_text_that_has_changed_is_made_again_before_it_is_tokenized(workspace: Workspace, tiny: Make) -> None:
    first = return_value(prepare(tiny(), workspace))
    before = contents(first.tokens)
    flip(first.clean.files("train-*")[0])
    remove_tree(first.tokens.path)
    again, said = prepared(tiny(), workspace)
    assert contents(again.tokens) == before
    assert [event.stage for event in said if isinstance(event, StageFinished)] == ["preprocess", "tokenize"]


def test_documents_that_have_changed_are_made_again_before_they_are_cleaned(workspace: Workspace, tiny: Make) -> None:
    return_value(prepare(tiny(), workspace))
    (documents,) = (path for path in (workspace.artifacts / "documents").iterdir() if path.is_dir())
    flip(Artifact.open(documents).files()[0])
    other = tiny("preprocess.validation=0.2")
    _, said = prepared(other, workspace)
    assert [event.stage for event in said if isinstance(event, StageFinished)] == [
        *("download", "preprocess", "tokenize")
    ]


def test_what_is_whole_is_not_made_again(workspace: Workspace, tiny: Make) -> None:
    return_value(prepare(tiny(), workspace))
    _, said = prepared(tiny(), workspace)
    assert not [event for event in said if isinstance(event, StageFinished | Note)]


def test_a_changed_file_is_named(workspace: Workspace, tiny: Make) -> None:
    tokens = return_value(prepare(tiny(), workspace)).tokens
    assert sum(tokens.verify()) == sum(file.stat().st_size for file in tokens.files())
    file = tokens.files("train-*")[0]
    flip(file)
    with pytest.raises(AlteredArtifactError, match=file.name):
        list(tokens.verify())


def test_a_stage_that_would_not_fit_the_disk_says_so_first(
    workspace: Workspace, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "free_bytes", lambda _: 5000)
    with pytest.raises(DiskError, match="too little room for the download stage: 5,000 bytes free of at least"):
        return_value(prepare(tiny(), workspace))


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
