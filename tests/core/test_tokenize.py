"""The tokenize stage: what its shards hold, its notes and progress, the same files after any break."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.events import Event, Progress
from core.recipe.schema import Preprocess, Tokenize
from core.storage.artifact import Artifact
from core.storage.documents import read_parts
from core.tokenize import bpe
from core.tokenize.progress_model import COUNT_COST, TokenizeProgress, merging_work
from core.tokenize.shards import TokenStream
from core.tokenize.vocabulary import Vocabulary
from core.vocab.report import read_report
from tests.core.stages import (
    clean_documents,
    close_after,
    file_digests,
    kill_while_writing,
    note_texts,
    run_stage,
    small_shards,
    tokenizing,
)
from tests.core.vocabularies import SHARED, needs_files


@pytest.fixture(scope="module")
def gpt2_cache() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(SHARED / "tiktoken-cache"))
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixty different documents of up to 4 kB."""
    dice = random.Random(3)
    words = ["alpha", "beta", "gamma", "delta", "\n", "naïve", "日本", "0123", "  indented", "<|endoftext|>"]
    place = tmp_path / "many"
    place.mkdir()
    for n in range(60):
        (place / f"{n:02d}").write_text(
            f"{n}: " + " ".join(dice.choice(words) for _ in range(dice.choice([9, 90, 600])))
        )
    return place


def stream(tokens: Artifact, split: str) -> TokenStream:
    return TokenStream(tokens.files(f"{split}-*.tokens"))


def everything(tokens: Artifact, split: str) -> list[int]:
    whole = stream(tokens, split)
    ids: list[int] = whole.window(0, len(whole)).tolist()
    return ids


@needs_files
def test_gpt2_stage_says_what_it_made(folder: Path, tmp_path: Path, gpt2_cache: None) -> None:
    tokens = run_stage(tmp_path / "tokens", tokenizing(clean_documents(tmp_path, folder), Tokenize(vocabulary="gpt2")))
    assert (tokens.facts["vocabulary"], tokens.facts["vocabulary_size"], tokens.facts["dtype"]) == (
        "gpt2",
        50_257,
        "uint16",
    )


@pytest.mark.heavy
def test_every_document_is_followed_by_one_mark(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    clean = clean_documents(tmp_path, folder, Preprocess(validation=0.3))
    tokens = run_stage(tmp_path / "tokens", tokenizing(clean))
    vocabulary = Vocabulary.load(tokens.path / "vocabulary.json")
    for split in ("train", "validation"):
        expected: list[int] = []
        for part in read_parts(clean.files(f"{split}-*.parquet")):
            expected += vocabulary.encode(part.text) + [vocabulary.end_of_text] * part.last
        ids = everything(tokens, split)
        assert ids == expected
        assert ids.count(vocabulary.end_of_text) == clean.facts[f"{split}_documents"]
        assert len(ids) == tokens.facts[f"{split}_tokens"]
        assert tokens.facts[f"{split}_bytes"] == clean.facts[f"{split}_bytes"]
    assert len(tokens.files("train-*.tokens")) > 3
    assert tokens.facts["bytes_per_token"] == round(
        int(tokens.facts["validation_bytes"]) / int(tokens.facts["validation_tokens"]), 4
    )


def test_the_vocabulary_knows_nothing_of_validation(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        file.write_text(file.read_text() + f" {file.name * 3}zq" * 20)
    clean = clean_documents(tmp_path, folder, Preprocess(validation=0.2))
    train = "".join(part.text for part in read_parts(clean.files("train-*"))).encode()
    tokens = run_stage(tmp_path / "tokens", tokenizing(clean, Tokenize(size=2000)))
    merges = Vocabulary.load(tokens.path / "vocabulary.json").ranks[256:]
    assert merges and all(train.count(merge) >= 2 for merge in merges)


def test_the_same_text_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    clean = clean_documents(tmp_path, folder)
    assert file_digests(run_stage(tmp_path / "a", tokenizing(clean))) == file_digests(
        run_stage(tmp_path / "b", tokenizing(clean))
    )


def test_a_small_text_gives_a_smaller_vocabulary_and_says_so(tmp_path: Path) -> None:
    source = tmp_path / "text"
    source.write_text("ab cd\n" * 2000)
    events: list[Event] = []
    tokens = run_stage(
        tmp_path / "tokens", tokenizing(clean_documents(tmp_path, source), Tokenize(size=4096)), events=events
    )
    size = int(tokens.facts["vocabulary_size"])
    assert 257 < size < 300
    assert any(f"{size} entries instead of 4,096" in note for note in note_texts(events))
    assert max(everything(tokens, "train")) < size


def test_a_large_text_is_sampled_and_says_so(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = clean_documents(tmp_path, folder)
    monkeypatch.setattr(bpe, "SAMPLE_BYTES", 20_000)
    events: list[Event] = []
    tokens = run_stage(tmp_path / "tokens", tokenizing(clean), events=events)
    assert any("a sample of 20.0 kB of" in note for note in note_texts(events))
    total, files = int(clean.facts["train_bytes"]), clean.files("train-*")
    texts = list(bpe.sample_texts(files, total))
    size = sum(len(text.encode()) for text in texts)
    assert 5_000 < size <= 20_000 < total
    assert texts == list(bpe.sample_texts(files, total))
    assert read_report(tokens.path).learned_from == size
    assert tokens.manifest.files["vocabulary.json"].facts == {"learned_bytes": size, "sample_seed": bpe.SAMPLE_SEED}


@pytest.mark.heavy
def test_progress_counts_learning_and_encoding(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    clean = clean_documents(tmp_path, folder)
    events: list[Event] = []
    run_stage(tmp_path / "tokens", tokenizing(clean), events=events)
    last = [event for event in events if isinstance(event, Progress)][-1]
    train, validation = int(clean.facts["train_bytes"]), int(clean.facts["validation_bytes"])
    assert last.done == last.total == train + validation
    shares = [event.done for event in events if isinstance(event, Progress)]
    assert shares == sorted(shares)


def test_progress_is_linear_in_time_while_nothing_is_heard_of_the_merging(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    counting, merges = COUNT_COST * 1_000, merging_work(1_000, 4_096)
    progress = TokenizeProgress(1_000, training=counting, merging_work=merges)
    progress.add_training_work(0)
    now += 10 * counting  # at 10 seconds a unit of work
    progress.add_training_work(counting)
    progress.start_merging()
    seconds = 10 * (counting + merges + 1_000)
    for part in (0.25, 0.5, 1):
        now = 100.0 + 10 * (counting + part * merges)
        progress.estimate_merging()
        assert progress.meter.done / 1_000 == pytest.approx((now - 100) / seconds)
    now += 50 * merges  # slower than was guessed: it waits
    progress.estimate_merging()
    assert progress.meter.done / 1_000 == pytest.approx((counting + merges) / (counting + merges + 1_000))
    progress.start_encoding(0)
    progress.add_encoded(500)
    assert progress.meter.done / 1_000 == pytest.approx((counting + merges + 500) / (counting + merges + 1_000))
    assert progress.complete().done == 1_000


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(3))
def test_after_breaks_at_any_point_the_tokens_are_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    small_shards(monkeypatch)
    clean = clean_documents(tmp_path, folder)
    whole = run_stage(tmp_path / "whole", tokenizing(clean))
    assert len(whole.manifest.files) > 5
    after = 1 + seed
    while close_after(tmp_path / "broken", tokenizing(clean), after):
        after = after * 3 // 2 + 1
    artifact = Artifact.open(tmp_path / "broken", verify=True)
    assert file_digests(artifact) == file_digests(whole) and artifact.facts == whole.facts


@pytest.mark.parametrize("file", [1, 3, 6])
def test_after_kill_in_the_middle_of_a_file_the_tokens_are_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: int
) -> None:
    small_shards(monkeypatch)
    clean = clean_documents(tmp_path, folder)
    assert kill_while_writing(tmp_path / "killed", "tokenize", clean.path, file) == -9
    complete = [path for path in (tmp_path / "killed.partial").iterdir() if not path.name.startswith(".")]
    assert len(complete) == file - 1
    assert file_digests(run_stage(tmp_path / "killed", tokenizing(clean))) == file_digests(
        run_stage(tmp_path / "whole", tokenizing(clean))
    )
