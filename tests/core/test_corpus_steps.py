"""Cleaning steps over the whole corpus, on corpora of many shards."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import CleaningReport, Event, StepEffect
from core.preprocess.line_windows import hashes_of_long_lines, line_hashes, line_windows, lines_in_windows, remove_lines
from core.preprocess.minhash import band_keys, banding, minhash_signatures, short_signatures
from core.recipe.schema import Preprocess
from core.storage.artifact import Artifact, Staging
from core.storage.documents import DocumentPart, read_parts, write_parts
from tests.core.stages import close_after, file_digests, preprocessing, run_stage, small_shards

WORDS = [f"{a}{b}" for a in "bcdfghklmnprst" for b in ("an", "el", "ip", "ox", "um", "ard", "est", "ing")]


def corpus(path: Path, shards: list[list[DocumentPart]]) -> Artifact:
    """A documents artifact with exactly these shards."""
    with Staging(path, "download", "0").open() as out:
        for number, parts in enumerate(shards):
            out.publish(f"documents-{number:05d}.parquet", lambda file, parts=parts: write_parts(file, parts))
        every = [part for parts in shards for part in parts]
        size = sum(len(part.text.encode()) for part in every)
        return out.finish({"documents": sum(part.number == 0 for part in every), "bytes": size})


def prose(dice: random.Random, words: int) -> str:
    text = dice.choices(WORDS, k=words)
    return "\n".join(" ".join(text[position : position + 10]) for position in range(0, words, 10)) + "\n"


def cleaned(home: Path, documents: Artifact, *steps: str, **fields: object) -> tuple[dict[str, str], CleaningReport]:
    """The clean documents by name, and the report."""
    events: list[Event] = []
    recipe = Preprocess(steps=steps, **fields)  # type: ignore[arg-type]
    clean = run_stage(home, preprocessing(documents, recipe), events=events)
    texts: dict[str, str] = {}
    for part in read_parts(clean.files("train-*")):
        texts[part.name] = texts.get(part.name, "") + part.text
    for part in read_parts(clean.files("validation-*")):
        texts[part.name] = texts.get(part.name, "") + part.text
    report = events[-1]
    assert isinstance(report, CleaningReport)
    return texts, report


def changed(dice: random.Random, text: str, share: float) -> str:
    """`text` with a `share` of its words replaced."""
    words = text.split(" ")
    for position in dice.sample(range(len(words)), int(share * len(words))):
        words[position] = dice.choice(WORDS)
    return " ".join(words)


def test_near_duplicates_are_removed_and_other_documents_kept(tmp_path: Path) -> None:
    dice = random.Random(3)
    originals = [prose(dice, 600) for _ in range(40)]
    # 1 % of the words changed leaves a similarity of five-word shingles of about 0.9, 10 % of about 0.42
    near = [changed(dice, text, 0.01) for text in originals[:15]]
    far = [changed(dice, text, 0.10) for text in originals[15:30]]
    parts = [
        DocumentPart(f"{kind}{n}", 0, text)
        for kind, texts in zip("onf", (originals, near, far), strict=True)
        for n, text in enumerate(texts)
    ]
    shards = [parts[position : position + 7] for position in range(0, len(parts), 7)]
    texts, report = cleaned(tmp_path / "c", corpus(tmp_path / "d", shards), "near_duplicates")
    assert {name for name in texts if name[0] != "n"} == {part.name for part in parts if part.name[0] != "n"}
    assert len([name for name in texts if name[0] == "n"]) <= 1  # 0.95 is found with a probability of 0.9999
    assert report.steps[0].removed == 70 - len(texts)
    assert report.steps[0].bytes == sum(len(part.text) for part in parts if part.name not in texts)


def test_of_a_hundred_versions_of_a_text_only_the_first_is_kept(tmp_path: Path) -> None:
    dice = random.Random(5)
    original = prose(dice, 500)
    versions = [DocumentPart(f"v{n:03d}", 0, original + f"version {n}\n") for n in range(100)]
    others = [DocumentPart(f"x{n}", 0, prose(dice, 200)) for n in range(30)]
    mixed = [*others[:10], *versions[:60], *others[10:20], *versions[60:], *others[20:]]
    shards = [mixed[position : position + 20] for position in range(0, len(mixed), 20)]
    texts, _ = cleaned(tmp_path / "c", corpus(tmp_path / "d", shards), "near_duplicates")
    assert sorted(texts) == sorted(["v000", *(part.name for part in others)])


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.8, 0.9, 1.0])
def test_banding_finds_nine_of_ten_pairs_at_the_threshold(similarity: float) -> None:
    bands, width = banding(similarity)
    assert bands * width <= 128
    assert 1 - (1 - similarity**width) ** bands >= 0.9


def test_signatures_estimate_similarity_and_are_merged_by_minimum() -> None:
    dice = random.Random(1)
    words = [dice.choice(WORDS) + str(n) for n in range(4000)]
    a, b = " ".join(words[:3000]), " ".join(words[1000:])
    made, worded = minhash_signatures([a, b, "", "!?"])
    # 2,000 of 4,000 shingles are common; the standard error is sqrt(0.25 / 128) = 0.044
    assert abs((made[0] == made[1]).mean() - 0.5) < 4 * 0.044
    assert worded.tolist() == [True, True, False, False]
    assert (short_signatures(made[0]) == short_signatures(made[1])).mean() == (made[0] == made[1]).mean()
    keys = band_keys(short_signatures(made), 0.8)
    assert keys.shape == (4, 16) and len(set(keys[0].tolist())) == 16
    whole, _ = minhash_signatures(["a b c d e f. g h i j k"])
    parts, _ = minhash_signatures(["a b c d e f.", " g h i j k"])
    joined = np.minimum(parts[0], parts[1])
    assert (joined >= whole[0]).all() and (joined == whole[0]).mean() > 0.2


def program(number: int) -> str:
    return "".join(f"program {number}, line {line}\n" for line in range(20))


LICENCE = "Permission is granted\nto any person\n\nobtaining a copy\nof this software\nto deal in it\n"


def test_a_run_of_lines_seen_before_is_removed(tmp_path: Path) -> None:
    parts = [DocumentPart(f"{n}", 0, LICENCE + "\n" + program(n)) for n in range(40)]
    parts.append(DocumentPart("part", 0, "begins\n" + "\n".join(LICENCE.split("\n")[:3]) + "\n" + program(99)))
    documents = corpus(tmp_path / "d", [parts[:15], parts[15:16], parts[16:]])
    texts, report = cleaned(tmp_path / "c", documents, "duplicate_lines", "trailing_space")
    assert texts["0"] == parts[0].text and texts["part"].startswith(
        "begins\nPermission is granted\nto any person\n\nprogram"
    )
    assert {texts[str(n)] for n in range(1, 40)} == {program(n) for n in range(1, 40)}
    lines = report.steps[0]
    assert lines.changed == 39 and lines.removed == 0
    assert lines.bytes == 39 * (len(LICENCE) + 1)


def test_lines_of_removed_documents_do_not_count_as_seen(tmp_path: Path) -> None:
    parts = [
        DocumentPart("long", 0, LICENCE + "x" * 5000),
        DocumentPart("copy", 0, LICENCE),
        DocumentPart("first", 0, LICENCE + "end\n"),
    ]
    parts += [DocumentPart(f"{n}", 0, program(n)) for n in range(30)]
    documents = corpus(tmp_path / "d", [parts[:1], parts[1:2], parts[2:]])
    texts, _ = cleaned(tmp_path / "c", documents, "too_long", "duplicate_lines", max_characters=4000)
    assert texts["copy"] == LICENCE and texts["first"] == "end\n" and "long" not in texts


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "", " c ", "d"]), max_size=12), max_size=5), st.integers(1, 4))
def test_line_windows_equal_those_of_a_plain_search(rows: list[list[str]], window: int) -> None:
    texts = ["\n".join(lines) for lines in rows]
    key, start, row = line_windows([line_hashes(text) for text in texts], window)
    plain = [[line.strip() for line in lines if line.strip()] for lines in rows]
    expected = [
        (tuple(lines[position : position + window]), number)
        for number, lines in enumerate(plain)
        for position in range(len(lines) - window + 1)
    ]
    assert [(place, found) for (place, _), found in zip(expected, row.tolist(), strict=True)] == [
        (place, number) for place, number in expected
    ]
    assert len(set(key.tolist())) == len({place for place, _ in expected})
    total = sum(map(len, plain))
    assert lines_in_windows(start, window, total).sum() == sum(len(lines) for lines in plain if len(lines) >= window)


def test_columns_of_numbers_are_not_compared() -> None:
    assert (
        len(hashes_of_long_lines("1234567\n" * 100)) == 0
        and len(hashes_of_long_lines("the quick brown\n" * 100)) == 100
    )


def test_blank_lines_after_a_removed_line_are_removed_too() -> None:
    text = "a\n\nb\n \n\nc\n"
    assert remove_lines(text, np.array([False, True, False])) == "a\n\nc\n"
    assert remove_lines(text, np.array([True, True, True])) == ""
    assert remove_lines(text, np.zeros(3, np.bool_)) is text


EVERYTHING: tuple[Any, ...] = (
    "control_characters",
    "empty",
    "too_short",
    "duplicates",
    "urls",
    "duplicate_lines",
    "passages",
    "trailing_space",
    "near_duplicates",
    "duplicates",
)


@pytest.fixture
def mixed(tmp_path: Path) -> Artifact:
    """Six shards: documents that span several, duplicates, near duplicates, blank documents, common lines."""
    dice = random.Random(11)
    long = [prose(dice, 300) for _ in range(9)]
    parts: list[DocumentPart] = []
    for n in range(12):
        parts += [DocumentPart(f"s{n}-{k}", 0, prose(dice, dice.choice([6, 80, 200]))) for k in range(6)]
        parts += [DocumentPart(f"blank{n}", 0, " \n")] + [
            DocumentPart(f"long{n}", k, piece) for k, piece in enumerate(long)
        ] * (n % 4 == 1)
        parts += [DocumentPart(f"copy{n}", 0, parts[2].text), DocumentPart(f"near{n}", 0, parts[5].text + f"{n}\n")]
        parts += [DocumentPart(f"licence{n}", 0, LICENCE + prose(dice, 40))]
    cuts = [0, 9, 13, 40, 41, 90, len(parts)]
    return corpus(tmp_path / "mixed", [parts[a:b] for a, b in pairwise(cuts)])


@pytest.mark.heavy
@pytest.mark.parametrize("split", ["document", "tail"])
def test_a_document_in_several_shards_is_one_document(mixed: Artifact, tmp_path: Path, split: str) -> None:
    recipe = {"split": split, "validation": 0.2}
    texts, report = cleaned(tmp_path / "c", mixed, "empty", "duplicates", **recipe)
    removed = {step.step: step.removed for step in report.steps}
    assert removed == {"empty": 12, "duplicates": 12 + 2}
    assert [name for name in texts if name.startswith("long")] == ["long1"] and len(texts["long1"].split()) == 2700
    assert report.after.documents == report.before.documents - 26 == len(texts)
    assert report.after.bytes == sum(map(len, texts.values())) == report.train.bytes + report.validation.bytes
    assert report.after.characters == report.after.bytes and sum(report.lengths) == len(texts)
    assert report.before.bytes - report.after.bytes == sum(step.bytes for step in report.steps)


def test_the_result_does_not_depend_on_the_number_of_processes(
    mixed: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.preprocess import preprocess

    small_shards(monkeypatch)
    recipe = Preprocess(steps=EVERYTHING[3:], window=3, passage=500)
    one, two = (
        run_stage(tmp_path / str(count), lambda out, count=count: preprocess(recipe, mixed, out, processes=count))
        for count in (1, 2)
    )
    assert file_digests(one) == file_digests(two) and one.facts == two.facts
    assert not [name for name in one.manifest.files if not name.startswith(("train-", "validation-", "report"))]
    sizes = [sum(len(part.text) for part in read_parts([file])) for file in one.files("train-*")]
    assert len(sizes) > 5 and max(sizes) < 5000 + 3000


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(2))
def test_resuming_in_any_phase_gives_the_same_result(
    mixed: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    small_shards(monkeypatch)
    recipe = Preprocess(steps=EVERYTHING, window=3, passage=500, min_characters=50)
    whole = run_stage(tmp_path / "whole", preprocessing(mixed, recipe))
    after = 3 + seed
    while close_after(tmp_path / "broken", preprocessing(mixed, recipe), after):
        after += 5
    assert file_digests(Artifact.open(tmp_path / "broken", verify=True)) == file_digests(whole)


def test_the_report_of_all_steps_adds_up(mixed: Artifact, tmp_path: Path) -> None:
    _, report = cleaned(tmp_path / "c", mixed, *EVERYTHING, window=3, passage=500, min_characters=50)
    assert report.before.bytes - report.after.bytes == sum(step.bytes for step in report.steps)
    assert [step.step for step in report.steps] == list(EVERYTHING)
    assert report.steps[1] == StepEffect(step="empty", changed=0, removed=12, bytes=24)


def test_the_report_shows_frequent_lines_and_those_in_both_splits(tmp_path: Path) -> None:
    dice = random.Random(2)
    common = "this line of more than forty characters occurs in every document"
    parts = [DocumentPart(f"{n}", 0, f"{prose(dice, 60)}{common}\n") for n in range(100)]
    parts += [DocumentPart(f"long {n}", 0, f"{prose(dice, 60)}{'long ' * 40}\n") for n in range(50)]
    _, report = cleaned(tmp_path / "c", corpus(tmp_path / "d", [parts]), "duplicates", validation=0.2)
    assert report.lines[0].line == common and report.lines[1].line == "long " * 23 + "long…"
    assert report.lines[0].count + report.lines[1].count == report.train.documents
    assert report.leaked_lines == 2 < report.held_out_lines
    assert report.sampled == report.train.bytes
