"""`Vocabulary`: exact ids of GPT-2, decoding gives any text back, and its file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.processes.progress import ProgressMeter
from core.tokenize import bpe
from core.tokenize.encodings import load_encoding
from core.tokenize.vocabulary import TokenIdError, Vocabulary, VocabularyError, split_chunks
from tests.core.stages import (
    return_value,
)
from tests.core.vocabularies import SHARED, TRAINING_TEXT, needs_files, needs_texts


@pytest.fixture(scope="module")
def own() -> Vocabulary:
    """A vocabulary of 600 entries learned from this file."""
    return bpe.train_bpe(split_chunks(TRAINING_TEXT, 2000), 600)


@pytest.fixture(scope="module")
def gpt2_cache() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(SHARED / "tiktoken-cache"))
        yield


@pytest.fixture(scope="module")
def gpt2(gpt2_cache: None) -> Vocabulary:
    return return_value(load_encoding("gpt2", ProgressMeter(None)))


@needs_files
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


@needs_files
@needs_texts
def test_gpt2_counts_the_reference_texts_as_published(gpt2: Vocabulary) -> None:
    # nanoGPT, data/shakespeare/readme.md; Raschka, chapter 5
    text = (SHARED / "data" / "tinyshakespeare.txt").read_text()
    assert (len(text), len(set(text))) == (1_115_394, 65)
    assert (len(gpt2.encode(text[:1_003_854])), len(gpt2.encode(text[1_003_854:]))) == (301_966, 36_059)
    assert len(gpt2.encode((SHARED / "data" / "the-verdict.txt").read_text())) == 5_145


@needs_files
@needs_texts
def test_the_verdict_makes_as_many_batches_as_in_the_book(gpt2: Vocabulary) -> None:
    # Raschka, chapter 5: 90 % of the characters for training, windows of 256 one behind the other, two a batch
    text = (SHARED / "data" / "the-verdict.txt").read_text()
    border = int(0.9 * len(text))
    windows = [len(range(0, len(gpt2.encode(side)) - 256, 256)) for side in (text[:border], text[border:])]
    assert len(text) == 20_479 and [count // 2 for count in windows] == [9, 1]


def test_an_own_vocabulary_begins_with_the_bytes_and_ends_with_the_mark(own: Vocabulary) -> None:
    assert [own.decode_bytes([byte]) for byte in range(256)] == [bytes([byte]) for byte in range(256)]
    assert own.size == 600 and own.end_of_text == 599
    assert own.decode_bytes([599]) == b"<|endoftext|>"


@pytest.mark.heavy
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


@needs_files
@settings(max_examples=100, deadline=None)
@given(text=st.text())
def test_gpt2_gives_any_text_back(gpt2: Vocabulary, text: str) -> None:
    assert gpt2.decode(gpt2.encode(text)) == text


@pytest.mark.heavy
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


@pytest.mark.heavy
@pytest.mark.parametrize("character", [" ", "\n", "a", "-", "7", "é", "\u3000"])
def test_a_million_times_the_same_character_is_encoded(own: Vocabulary, character: str) -> None:
    assert own.decode(own.encode(character * 1_000_000 + "x")) == character * 1_000_000 + "x"


@pytest.mark.parametrize("token", [-1, 600, 2**40])
def test_an_id_outside_the_vocabulary_is_refused(own: Vocabulary, token: int) -> None:
    with pytest.raises(TokenIdError, match=f"no token {token}"):
        own.decode([65, token])


def test_a_saved_vocabulary_is_the_same(own: Vocabulary, tmp_path: Path) -> None:
    own.save(tmp_path / "v.json")
    loaded = Vocabulary.load(tmp_path / "v.json")
    text = TRAINING_TEXT
    assert loaded.encode(text) == own.encode(text)
    assert (loaded.name, loaded.size, loaded.digest) == (own.name, own.size, own.digest)


@needs_files
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
    with pytest.raises(VocabularyError) as caught:
        Vocabulary.load(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", None])
def test_what_is_no_vocabulary_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "v.json").write_bytes(content)
    with pytest.raises(VocabularyError):
        Vocabulary.load(tmp_path / "v.json")
