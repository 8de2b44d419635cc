"""The cleaning stage: its report, the split into training and validation, and resumption."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import CleaningReport, Event, StepEffect
from core.preprocess import CorpusTooSmallError, EmptyCorpusError
from core.preprocess.split import cut_at_line
from core.recipe.schema import Preprocess
from core.storage.artifact import Artifact
from core.storage.documents import DocumentPart, read_parts
from tests.core.stages import (
    clean_documents,
    close_after,
    downloading,
    file_digests,
    kill_while_writing,
    preprocessing,
    run_stage,
    small_shards,
)


def parts_of(clean: Artifact, side: str) -> list[DocumentPart]:
    return list(read_parts(clean.files(f"{side}-*.parquet")))


def text_of(clean: Artifact, side: str) -> str:
    return "".join(part.text for part in parts_of(clean, side))


def write(folder: Path, texts: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixty different documents of 0.2 to 12 kB, duplicates of three, and one of white space."""
    dice = random.Random(7)
    texts = {
        f"{n:02d}": "".join(f"{dice.random()} of {n}\n" for _ in range(dice.choice([8, 30, 100, 400])))
        for n in range(60)
    }
    texts |= {f"copy-{n}": texts[n] for n in ("03", "20", "41")} | {"blank": " \n\n\t\n"}
    return write(tmp_path / "many", texts)


def test_the_report_counts_what_each_step_did(tmp_path: Path) -> None:
    texts = {f"{n:02d}": f"document {n}\n" * 50 for n in range(30)}
    texts |= {
        "x-space": "trailing   \n" * 30,
        "x-copy": texts["04"],
        "x-bell": texts["05"] + "\a\r\n",
        "x-blank": " \n",
        "x-open": "no newline at its end, as most files",
    }
    documents = run_stage(tmp_path / "documents", downloading(write(tmp_path / "s", texts)))
    events: list[Event] = []
    clean = run_stage(tmp_path / "clean", preprocessing(documents), events=events)
    report = events[-1]
    assert isinstance(report, CleaningReport)
    assert report.steps == (
        StepEffect(step="unicode_nfc", changed=0, removed=0, bytes=0),
        StepEffect(step="control_characters", changed=1, removed=0, bytes=2),
        StepEffect(step="trailing_space", changed=3, removed=0, bytes=3 * 30 + 1 + 2 - 1),
        StepEffect(step="empty", changed=0, removed=1, bytes=0),
        StepEffect(step="duplicates", changed=0, removed=2, bytes=2 * 550),
    )
    assert clean.facts["removed"] == 3
    written = msgspec.json.decode((clean.path / "report.json").read_bytes())
    assert msgspec.convert(written, CleaningReport, strict=False).steps == report.steps
    assert int(clean.facts["train_documents"]) + int(clean.facts["validation_documents"]) == 32


def test_steps_that_are_not_in_the_recipe_do_nothing(tmp_path: Path) -> None:
    texts = {f"{n:02d}": f"\a {n} \r\n" * 99 for n in range(30)} | {"copy": "\a 7 \r\n" * 99, "blank": " "}
    clean = clean_documents(tmp_path, write(tmp_path / "s", texts), Preprocess(steps=()))
    kept = {part.name: part.text for side in ("train", "validation") for part in parts_of(clean, side)}
    assert kept == texts and clean.facts["removed"] == 0


def test_training_and_validation_share_no_document(folder: Path, tmp_path: Path) -> None:
    clean = clean_documents(tmp_path, folder, Preprocess(validation=0.3))
    train, validation = ({part.text for part in parts_of(clean, side)} for side in ("train", "validation"))
    assert train and validation and not train & validation


@pytest.mark.heavy
def test_duplicates_that_are_kept_are_in_the_same_split(folder: Path, tmp_path: Path) -> None:
    for seed in range(8):
        recipe = Preprocess(steps=("trailing_space",), validation=0.5, seed=seed)
        clean = clean_documents(tmp_path / str(seed), folder, recipe)
        train, validation = ({part.text for part in parts_of(clean, side)} for side in ("train", "validation"))
        assert not train & validation


@pytest.mark.heavy
def test_parts_of_a_document_are_in_the_same_split(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    clean = clean_documents(tmp_path, folder, Preprocess(validation=0.3))
    names = [{part.name for part in parts_of(clean, side)} for side in ("train", "validation")]
    assert not names[0] & names[1]
    for side in ("train", "validation"):
        parts = parts_of(clean, side)
        assert any(part.number > 0 for part in parts)
        assert [part.number == 0 for part in parts[1:]] == [part.last for part in parts[:-1]]


@pytest.mark.heavy
def test_documents_in_parts_are_removed_like_whole_ones(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = clean_documents(tmp_path / "whole", folder)
    small_shards(monkeypatch)
    parts = clean_documents(tmp_path / "parts", folder)
    assert parts.facts["removed"] == whole.facts["removed"] == 4
    texts = [sorted(text_of(made, side) for side in ("train", "validation")) for made in (parts, whole)]
    assert sum(map(len, texts[0])) == sum(map(len, texts[1]))


def test_the_split_depends_on_content_not_on_names(folder: Path, tmp_path: Path) -> None:
    held_out = {part.text for part in parts_of(clean_documents(tmp_path / "a", folder), "validation")}
    for number, file in enumerate(sorted(folder.iterdir(), key=lambda path: path.name[::-1])):
        file.rename(folder / f"renamed-{number:03d}")
    assert {part.text for part in parts_of(clean_documents(tmp_path / "b", folder), "validation")} == held_out


def test_another_seed_holds_out_other_documents(folder: Path, tmp_path: Path) -> None:
    texts = [
        text_of(clean_documents(tmp_path / str(seed), folder, Preprocess(seed=seed)), "validation") for seed in (1, 2)
    ]
    assert texts[0] != texts[1]


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_the_held_out_share_is_that_of_the_recipe(folder: Path, tmp_path: Path, share: float) -> None:
    facts = clean_documents(tmp_path, folder, Preprocess(validation=share)).facts
    total = int(facts["train_bytes"]) + int(facts["validation_bytes"])
    assert share - 0.01 < int(facts["validation_bytes"]) / total <= share


def test_of_two_documents_each_split_gets_one(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {"large": "large\n" * 1000, "small": "small\n" * 100})
    clean = clean_documents(tmp_path, source, Preprocess(split="document"))
    assert (text_of(clean, "train"), text_of(clean, "validation")) == ("large\n" * 1000, "small\n" * 100)


def test_split_auto_holds_out_whole_documents_if_there_are_at_least_twenty(tmp_path: Path) -> None:
    texts = {f"{n:02d}": f"{n:02d} text\n" * 100 for n in range(20)}
    twenty = clean_documents(tmp_path / "20", write(tmp_path / "s", texts), Preprocess(validation=0.1))
    assert {len(part.text) for part in parts_of(twenty, "validation")} == {800}
    (tmp_path / "s" / "00").unlink()
    nineteen = clean_documents(tmp_path / "19", tmp_path / "s", Preprocess(validation=0.1))
    assert text_of(nineteen, "validation") == "18 text\n" * 90 + "19 text\n" * 100
    assert nineteen.facts["train_documents"] == 18 and nineteen.facts["validation_documents"] == 2


@pytest.mark.heavy
@settings(max_examples=20, deadline=None)
@given(lines=st.lists(st.text("ab é😀", max_size=60), max_size=60), share=st.floats(0.2, 0.5))
def test_train_and_tail_together_are_the_text(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], share: float
) -> None:
    home = tmp_path_factory.mktemp("tail")
    text = "\n".join(["x" * 20, *lines, "y" * 2000])
    with pytest.MonkeyPatch.context() as patch:
        small_shards(patch)
        source = write(home / "s", {"text": text})
        clean = clean_documents(home, source, Preprocess(steps=(), split="tail", validation=share))
    head, tail = text_of(clean, "train"), text_of(clean, "validation")
    assert head + tail == text
    assert len(tail.encode()) >= int(len(text.encode()) * share)
    assert parts_of(clean, "validation")[0].number == 0


def test_cutting_prefers_a_line_end_and_never_splits_a_character() -> None:
    assert cut_at_line("one\ntwo\nthree", 9, slack=5) == 8
    assert cut_at_line("one\ntwo\nthree", 12, slack=2) == 12
    assert cut_at_line("éééé", 3, slack=3) == 1
    assert cut_at_line("one\ntwo", 0, slack=9) == 0


def test_the_error_of_a_corpus_too_small_to_split_says_how_much_is_needed(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {"note": "only a few words\n" * 20})
    with pytest.raises(CorpusTooSmallError, match="of 340 bytes of clean text 17 would be held out") as error:
        clean_documents(tmp_path, source)
    assert "about 5,121 bytes" in error.value.todo


def test_a_single_document_cannot_be_split_by_document(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {"book": "a line\n" * 10_000})
    with pytest.raises(CorpusTooSmallError, match="only one document") as error:
        clean_documents(tmp_path, source, Preprocess(split="document"))
    assert "'tail'" in error.value.todo


def test_an_empty_clean_corpus_is_an_error(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {"a": " \n\t" * 500, "b": "\x01" * 500})
    with pytest.raises(EmptyCorpusError, match="left no text of 2 documents"):
        clean_documents(tmp_path, source)


@pytest.mark.heavy
def test_long_runs_of_one_character_are_cleaned_in_linear_time(tmp_path: Path) -> None:
    # a backtracking pattern takes hours for these
    texts = {f"{n}": character * 2**21 + "x\n" for n, character in enumerate([" ", "\t", "\r", "\x00", "\u0301", "\n"])}
    clean = clean_documents(tmp_path, write(tmp_path / "s", texts))
    assert int(clean.facts["train_bytes"]) > 0


@pytest.mark.heavy
@pytest.mark.parametrize("split", ["document", "tail"])
@pytest.mark.parametrize("seed", range(2))
def test_resuming_from_any_point_gives_the_same_clean_documents(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, split: str
) -> None:
    small_shards(monkeypatch)
    recipe = msgspec.convert({"split": split, "validation": 0.2}, Preprocess)
    documents = run_stage(tmp_path / "documents", downloading(folder))
    rows = len(list(read_parts(documents.files("documents-*"))))
    whole = run_stage(tmp_path / "whole", preprocessing(documents, recipe))
    assert len(whole.manifest.files) > 10
    after = rows + 5 + seed
    while close_after(tmp_path / "broken", preprocessing(documents, recipe), after):
        after += 13
    artifact = Artifact.open(tmp_path / "broken", verify=True)
    assert file_digests(artifact) == file_digests(whole) and artifact.facts == whole.facts


def test_resuming_after_a_kill_within_a_shard_gives_the_same_clean_documents(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    documents = run_stage(tmp_path / "documents", downloading(folder))
    assert kill_while_writing(tmp_path / "killed", "preprocess", documents.path, 5) == -9
    assert len(list((tmp_path / "killed.partial").glob("0-keys-*"))) == 2
    killed = run_stage(tmp_path / "killed", preprocessing(documents))
    assert file_digests(killed) == file_digests(run_stage(tmp_path / "whole", preprocessing(documents)))
