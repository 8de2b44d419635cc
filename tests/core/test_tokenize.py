"""Vocabularies and the tokenize stage: exact ids, exact text back, the same files whatever happens on the way."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import tokenize
from core.events import Event, Progress
from core.processes.progress import ProgressMeter
from core.processes.threads import run_in_thread
from core.recipe.schema import Preprocess, Tokenize
from core.storage.artifact import Artifact
from core.storage.documents import DocumentPart, read_parts, write_parts
from core.tokenize import VocabularyUnavailableError, bpe, encodings
from core.tokenize.encodings import load_encoding
from core.tokenize.progress_model import COUNT_COST, TokenizeProgress, merging_work
from core.tokenize.shards import TokenStream
from core.tokenize.vocabulary import TokenIdError, Vocabulary, VocabularyError, split_chunks
from core.vocab.report import read_report
from tests.core.stages import (
    break_off,
    clean_of,
    contents,
    killed_while_writing,
    made,
    make,
    notes,
    small_shards,
    tokenizing,
)

SHARED = Path(__file__).parents[3] / "shared"
needs_gpt2 = pytest.mark.skipif(not (SHARED / "tiktoken-cache").is_dir(), reason="GPT-2's vocabulary is not here")
needs_texts = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the reference texts are not here")


@pytest.fixture(scope="module")
def own() -> Vocabulary:
    """A vocabulary of 600 entries learned from this file."""
    return bpe.train_bpe(split_chunks(Path(__file__).read_text(), 2000), 600)


@pytest.fixture(scope="module")
def gpt2_cache() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(SHARED / "tiktoken-cache"))
        yield


@pytest.fixture(scope="module")
def gpt2(gpt2_cache: None) -> Vocabulary:
    return made(load_encoding("gpt2", ProgressMeter(None)))


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


# -- exact figures ----------------------------------------------------------------------------------------------------


@needs_gpt2
def test_gpt2_gives_the_published_ids(gpt2: Vocabulary) -> None:
    # Raschka, Build a Large Language Model, chapters 2 and 4
    assert gpt2.encode("Hello, I am") == [15496, 11, 314, 716]
    before, after = "Hello, do you like tea? ", " In the sunlit terracesof someunknownPlace."
    ids = [
        15496,
        11,
        466,
        345,
        588,
        8887,
        30,
        220,
        50256,
        554,
        262,
        4252,
        18250,
        8812,
        2114,
        1659,
        617,
        34680,
        27271,
        13,
    ]
    assert [*gpt2.encode(before), gpt2.end_of_text, *gpt2.encode(after)] == ids
    assert gpt2.decode(ids) == f"{before}<|endoftext|>{after}"
    assert (gpt2.size, gpt2.end_of_text) == (50_257, 50_256)


@needs_gpt2
@needs_texts
def test_gpt2_counts_the_reference_texts_as_published(gpt2: Vocabulary) -> None:
    # nanoGPT, data/shakespeare/readme.md; Raschka, chapter 5
    text = (SHARED / "data" / "tinyshakespeare.txt").read_text()
    assert (len(text), len(set(text))) == (1_115_394, 65)
    assert (len(gpt2.encode(text[:1_003_854])), len(gpt2.encode(text[1_003_854:]))) == (301_966, 36_059)
    assert len(gpt2.encode((SHARED / "data" / "the-verdict.txt").read_text())) == 5_145


@needs_gpt2
@needs_texts
def test_the_verdict_makes_as_many_batches_as_in_the_book(gpt2: Vocabulary) -> None:
    # Raschka, chapter 5: 90 % of the characters for training, windows of 256 one behind the other, two a batch
    text = (SHARED / "data" / "the-verdict.txt").read_text()
    border = int(0.9 * len(text))
    windows = [len(range(0, len(gpt2.encode(side)) - 256, 256)) for side in (text[:border], text[border:])]
    assert len(text) == 20_479 and [count // 2 for count in windows] == [9, 1]


@needs_gpt2
def test_gpt2_stage_says_what_it_made(folder: Path, tmp_path: Path, gpt2_cache: None) -> None:
    tokens = make(tmp_path / "tokens", tokenizing(clean_of(tmp_path, folder), Tokenize(vocabulary="gpt2")))
    assert (tokens.facts["vocabulary"], tokens.facts["vocabulary_size"], tokens.facts["dtype"]) == (
        "gpt2",
        50_257,
        "uint16",
    )


def test_an_own_vocabulary_begins_with_the_bytes_and_ends_with_the_mark(own: Vocabulary) -> None:
    assert [own.decode_bytes([byte]) for byte in range(256)] == [bytes([byte]) for byte in range(256)]
    assert own.size == 600 and own.end_of_text == 599
    assert own.decode_bytes([599]) == b"<|endoftext|>"


def test_the_first_merges_are_the_commonest_pairs() -> None:
    vocabulary = bpe.train_bpe(iter(["abab abab abab", " xyz xyz"]), 1000)
    assert vocabulary.ranks[256:258] == (b"ab", b"abab")
    assert vocabulary.encode("abab") == [257]


# -- there and back ---------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(text=st.text() | st.text("<|endoftx> \n\t\r019é😀'sT"))
def test_decoding_gives_any_text_back(own: Vocabulary, text: str) -> None:
    ids = own.encode(text)
    assert own.decode(ids) == text and own.decode_bytes(ids) == text.encode()
    assert own.end_of_text not in ids


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(categories=("Cs", "L", "Zs"))))
def test_lone_surrogates_become_replacement_characters(own: Vocabulary, text: str) -> None:
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert own.decode(own.encode(text)) == expected


@needs_gpt2
@settings(max_examples=100, deadline=None)
@given(text=st.text())
def test_gpt2_gives_any_text_back(gpt2: Vocabulary, text: str) -> None:
    assert gpt2.decode(gpt2.encode(text)) == text


@settings(deadline=None)
@given(
    words=st.lists(st.sampled_from(["word", "  two", "x = 1", "é", "don't", "(a)", "7", "/y", "."]), max_size=80),
    ends=st.lists(st.sampled_from(["\n", "\r\n", " ", "\n\n", "\n ", "\t"]), min_size=80, max_size=80),
)
def test_cutting_at_lines_and_words_does_not_change_the_tokens(
    own: Vocabulary, words: list[str], ends: list[str]
) -> None:
    text = "".join(f"{word}{end}" for word, end in zip(words, ends, strict=False)) + "end"
    limit = 40
    chunks = list(split_chunks(text, limit))
    assert "".join(chunks) == text and all(0 < len(chunk) <= limit for chunk in chunks)
    if all(chunk.endswith("\n") or after.startswith(" ") for chunk, after in itertools.pairwise(chunks)):
        assert [token for chunk in chunks for token in own.encode(chunk)] == own.encode(text)


@pytest.mark.parametrize("character", [" ", "\n", "a", "-", "7", "é", "\u3000"])
def test_a_million_times_the_same_character_is_encoded(own: Vocabulary, character: str) -> None:
    assert own.decode(own.encode(character * 1_000_000 + "x")) == character * 1_000_000 + "x"


def test_text_without_spaces_can_be_learned_from(tmp_path: Path) -> None:
    dice = random.Random(1)
    text = "".join(dice.choice("ACGT") for _ in range(300_000))
    write_parts(tmp_path / "train.parquet", [DocumentPart("dna", 0, text), DocumentPart("spaces", 0, " " * 300_000)])
    assert bpe.train_bpe(bpe.sample_texts([tmp_path / "train.parquet"], 600_000), 500).size == 500


@pytest.mark.parametrize("token", [-1, 600, 2**40])
def test_an_id_outside_the_vocabulary_is_refused(own: Vocabulary, token: int) -> None:
    with pytest.raises(TokenIdError, match=f"no token {token}"):
        own.decode([65, token])


# -- the file ---------------------------------------------------------------------------------------------------------


def test_a_saved_vocabulary_is_the_same(own: Vocabulary, tmp_path: Path) -> None:
    own.save(tmp_path / "v.json")
    loaded = Vocabulary.load(tmp_path / "v.json")
    text = Path(__file__).read_text()
    assert loaded.encode(text) == own.encode(text)
    assert (loaded.name, loaded.size, loaded.digest) == (own.name, own.size, own.digest)


@needs_gpt2
def test_a_saved_gpt2_needs_no_cache(gpt2: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpt2.save(tmp_path / "v.json")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "nothing"))
    assert Vocabulary.load(tmp_path / "v.json").encode("Hello, I am") == [15496, 11, 314, 716]


@pytest.mark.parametrize(
    "change",
    [
        {"ranks": []},
        {"ranks": ["AA=="] * 300},
        {"ranks": ["not base64"]},
        {"pattern": "("},
        {"pattern": "x"},
        {"digest": "0"},
        {"schema": 3},
        {"special": {"<|endoftext|>": 0}},
        {"special": {"<|endoftext|>": 2**60}},
        {"special": {}},
        {"kind": "characters"},
        {"kind": "bytes"},
        {"schema": 1},
        {"ranks": 7},
    ],
)
def test_a_damaged_vocabulary_is_named(own: Vocabulary, tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "vocabulary.json"
    own.save(path)
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | change))
    with pytest.raises(VocabularyError) as trouble:
        Vocabulary.load(path)
    assert trouble.value.where == str(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", None])
def test_what_is_no_vocabulary_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "v.json").write_bytes(content)
    with pytest.raises(VocabularyError):
        Vocabulary.load(tmp_path / "v.json")


# -- the stage --------------------------------------------------------------------------------------------------------


def test_every_document_is_followed_by_one_mark(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    clean = clean_of(tmp_path, folder, Preprocess(validation=0.3))
    tokens = make(tmp_path / "tokens", tokenizing(clean))
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
    clean = clean_of(tmp_path, folder, Preprocess(validation=0.2))
    train = "".join(part.text for part in read_parts(clean.files("train-*"))).encode()
    tokens = make(tmp_path / "tokens", tokenizing(clean, Tokenize(size=2000)))
    merges = Vocabulary.load(tokens.path / "vocabulary.json").ranks[256:]
    assert merges and all(train.count(merge) >= 2 for merge in merges)


def test_the_same_text_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    clean = clean_of(tmp_path, folder)
    assert contents(make(tmp_path / "a", tokenizing(clean))) == contents(make(tmp_path / "b", tokenizing(clean)))


def test_a_small_text_gives_a_smaller_vocabulary_and_says_so(tmp_path: Path) -> None:
    source = tmp_path / "text"
    source.write_text("ab cd\n" * 2000)
    events: list[Event] = []
    tokens = make(tmp_path / "tokens", tokenizing(clean_of(tmp_path, source), Tokenize(size=4096)), events=events)
    size = int(tokens.facts["vocabulary_size"])
    assert 257 < size < 300
    assert any(f"{size} entries instead of 4,096" in note for note in notes(events))
    assert max(everything(tokens, "train")) < size


def test_a_large_text_is_sampled_and_says_so(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = clean_of(tmp_path, folder)
    monkeypatch.setattr(bpe, "SAMPLE_BYTES", 20_000)
    events: list[Event] = []
    tokens = make(tmp_path / "tokens", tokenizing(clean), events=events)
    assert any("a sample of 20,000 of" in note for note in notes(events))
    total, files = int(clean.facts["train_bytes"]), clean.files("train-*")
    texts = list(bpe.sample_texts(files, total))
    size = sum(len(text.encode()) for text in texts)
    assert 5_000 < size <= 20_000 < total
    assert texts == list(bpe.sample_texts(files, total))
    assert read_report(tokens.path).learned_from == size
    assert tokens.manifest.files["vocabulary.json"].facts == {"learned_bytes": size, "sample_seed": bpe.SAMPLE_SEED}


def test_a_sample_is_spread_over_all_shards_and_long_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "SAMPLE_BYTES", 40_000)
    monkeypatch.setattr(bpe, "_SAMPLE_PIECE", 1_000)
    monkeypatch.setattr(bpe, "_SAMPLE_SHARDS", 5)
    files = [tmp_path / f"train-{n}.parquet" for n in range(10)]
    for n, path in enumerate(files):
        write_parts(path, [DocumentPart("long", 0, f"{n}word " * 4_000)])
    total = 10 * 24_000
    texts = list(bpe.sample_texts(files, total))
    assert 20_000 < sum(map(len, texts)) <= 40_000
    assert len({text.split("word")[0][-1] for text in texts}) == 5
    assert len(texts) > 20


def test_progress_counts_learning_and_encoding(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    clean = clean_of(tmp_path, folder)
    events: list[Event] = []
    make(tmp_path / "tokens", tokenizing(clean), events=events)
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


@pytest.mark.parametrize("seed", range(3))
def test_after_breaks_at_any_point_the_tokens_are_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    small_shards(monkeypatch)
    clean = clean_of(tmp_path, folder)
    whole = make(tmp_path / "whole", tokenizing(clean))
    assert len(whole.manifest.files) > 5
    after = 1 + seed
    while break_off(tmp_path / "broken", tokenizing(clean), after):
        after = after * 3 // 2 + 1
    artifact = Artifact.open(tmp_path / "broken", verify=True)
    assert contents(artifact) == contents(whole) and artifact.facts == whole.facts


@pytest.mark.parametrize("file", [1, 3, 6])
def test_after_kill_in_the_middle_of_a_file_the_tokens_are_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: int
) -> None:
    small_shards(monkeypatch)
    clean = clean_of(tmp_path, folder)
    assert killed_while_writing(tmp_path / "killed", "tokenize", clean.path, file) == -9
    complete = [path for path in (tmp_path / "killed.partial").iterdir() if not path.name.startswith(".")]
    assert len(complete) == file - 1
    assert contents(make(tmp_path / "killed", tokenizing(clean))) == contents(
        make(tmp_path / "whole", tokenizing(clean))
    )


# -- without a network ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def silent_proxy() -> Iterator[str]:
    """A server that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    for connection in taken:
        connection.close()


def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in list(os.environ):
        if name.lower() in ("no_proxy", "all_proxy", "http_proxy", "https_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty-cache"))


def test_without_a_network_it_is_said_how_to_get_gpt2(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = clean_of(tmp_path, folder)
    offline(tmp_path, monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(VocabularyUnavailableError) as trouble:
        make(tmp_path / "tokens", tokenizing(clean, Tokenize(vocabulary="gpt2")))
    assert "TIKTOKEN_CACHE_DIR" in trouble.value.todo and "tokenize.vocabulary=bpe" in trouble.value.todo


def test_a_network_that_never_answers_is_given_up(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = clean_of(tmp_path, folder)
    monkeypatch.setattr(encodings, "DOWNLOAD_SECONDS", 0.5)
    with silent_proxy() as proxy:
        offline(tmp_path, monkeypatch, proxy)
        events: list[Event] = []
        with pytest.raises(VocabularyUnavailableError, match="no answer"):
            make(tmp_path / "tokens", tokenizing(clean, Tokenize(vocabulary="gpt2")), events=events)
    assert any(isinstance(event, Progress) for event in events), "a stop would have been heeded meanwhile"


def test_run_in_thread_raises_the_error_of_its_work() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(run_in_thread(fail, ProgressMeter(None)))


HINDI = "मुझे आपकी सहायता चाहिए। यह पुस्तक बहुत अच्छी है। कृपया सही मान दर्ज करें और पुनः प्रयास करें। हिन्दी में लिखना सीखें।\n"
PERSIAN = "می\u200cخواهم کتاب\u200cهای بیشتری بخوانم و نمی\u200cدانم کجا می\u200cروند.\n"


def test_a_word_goes_on_over_the_marks_behind_its_letters() -> None:
    for text, most in ((HINDI * 20, 0.6), (PERSIAN * 20, 0.8)):
        learned = (bpe.train_bpe([text], 500, pattern) for pattern in (bpe.OLD_PATTERN, bpe.PATTERN))
        before, now = (len(vocabulary.encode(text)) for vocabulary in learned)
        assert now < most * before


def test_text_without_marks_is_cut_as_before(tmp_path: Path) -> None:
    text = Path(__file__).read_text().replace(HINDI, "").replace("\u200c", "") + "👩‍💻 ❤️ 1️⃣ \u0301 x\n\u0301"
    plain = "".join(letter for letter in text if not unicodedata.category(letter).startswith("M"))
    assert bpe.train_bpe([plain], 600).ranks == bpe.train_bpe([plain], 600, bpe.OLD_PATTERN).ranks


def test_weights_keep_the_pattern_that_their_vocabulary_was_learned_with(tmp_path: Path) -> None:
    recipe, folders = Tokenize(), [tmp_path / name for name in ("none", "broken", "old")]
    for folder in folders:
        folder.mkdir()
    assert tokenize.pattern_of(folders) == tokenize.pattern_of([]) == bpe.PATTERN
    assert tokenize.version(recipe, bpe.PATTERN) != tokenize.FORMAT
    (folders[1] / "vocabulary.json").write_text("{")
    bpe.train_bpe(["ab ab"], 300, bpe.OLD_PATTERN).save(folders[2] / "vocabulary.json")
    assert tokenize.pattern_of(folders) == bpe.OLD_PATTERN
    assert tokenize.version(recipe, bpe.OLD_PATTERN) == tokenize.FORMAT  # and the tokens made then are found again
    assert tokenize.version(Tokenize(vocabulary="gpt2"), bpe.PATTERN) == tokenize.FORMAT
