"""What the stages made, as plain text."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.events import Progress
from core.jobs import export as exporting
from core.jobs.export import Exported, export
from core.recipe.schema import Preprocess, Tokenize
from core.storage.artifact import Artifact
from core.storage.documents import read_parts
from core.tokenize.vocabulary import Vocabulary
from tests.core.stages import clean_documents, downloading, run_stage, small_shards, tokenizing


def exported(artifact: Artifact, stage: Exported, to: Path) -> str:
    last = [event for event in export(artifact, stage, to) if isinstance(event, Progress)][-1]
    assert last.done == last.total
    return to.read_bytes().decode()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_shards(monkeypatch)
    place = tmp_path / "texts"
    place.mkdir()
    for n in range(30):
        (place / f"{n:02d}").write_text("".join(f"line {k} of {n}, é\n" for k in range(n * 5 + 1)) + "no end")
    return place


def test_documents_are_parted_by_an_empty_line(tmp_path: Path, folder: Path) -> None:
    raw = run_stage(tmp_path / "documents", downloading(folder))
    expected = "\n".join(f"{path.read_text()}\n" for path in sorted(folder.iterdir()))
    assert exported(raw, "raw", tmp_path / "out.txt") == expected


def test_single_lines_stay_single_lines(tmp_path: Path) -> None:
    place = tmp_path / "rows"
    place.mkdir()
    for n in range(25):
        (place / f"{n:02d}").write_text(f"sentence {n} ." + "\n" * (n % 2))
    raw = run_stage(tmp_path / "documents", downloading(place))
    assert exported(raw, "raw", tmp_path / "out.txt") == "".join(f"sentence {n} .\n" for n in range(25))


def test_clean_text_is_training_then_validation(tmp_path: Path, folder: Path) -> None:
    clean = clean_documents(tmp_path, folder, Preprocess(validation=0.3))
    texts: dict[str, str] = {}
    for side in ("train", "validation"):
        for part in read_parts(clean.files(f"{side}-*.parquet")):
            texts[part.name] = texts.get(part.name, "") + part.text
    assert len(texts) == 30
    assert exported(clean, "clean", tmp_path / "out.txt") == "\n".join(texts.values())


@pytest.mark.parametrize("ids_at_once", [7, 2**20])
def test_tokens_are_a_line_of_numbers_for_each_document(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, ids_at_once: int
) -> None:
    monkeypatch.setattr(exporting, "_IDS", ids_at_once)
    clean = clean_documents(tmp_path, folder, Preprocess(validation=0.3))
    tokens = run_stage(tmp_path / "tokens", tokenizing(clean, Tokenize(size=300)))
    vocabulary = Vocabulary.load(tokens.path / "vocabulary.json")
    lines = exported(tokens, "tokens", tmp_path / "out.txt").split("\n")
    documents = [vocabulary.decode([int(word) for word in line.split(" ")]) for line in lines[:-1]]
    assert lines[-1] == "" and len(documents) == 30
    assert "\n".join(documents) == exported(clean, "clean", tmp_path / "clean.txt")


def test_a_broken_export_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    raw = run_stage(tmp_path / "documents", downloading(folder))
    work = export(raw, "raw", tmp_path / "out" / "out.txt")
    (tmp_path / "out").mkdir()
    next(iter(work))
    work.close()  # type: ignore[attr-defined]
    assert list((tmp_path / "out").iterdir()) == []
