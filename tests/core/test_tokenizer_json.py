"""tokenizer.json: `tokenizers` gives the same ids and texts as our vocabularies."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from core.export.merges import merges_of
from core.export.tokenizer_json import TokenizerExportError, tokenizer_files
from core.processes.progress import ProgressMeter
from core.tokenize.bpe import MARKS_PATTERN, OLD_PATTERN, PATTERN
from core.tokenize.encodings import load_encoding
from core.tokenize.vocabulary import END_OF_TEXT, Vocabulary
from tests.core.stages import return_value
from tests.core.vocabularies import CACHE, MERGES, TRICKY, needs_files, vocabularies_of_each_kind

BYTES = tuple(bytes([byte]) for byte in range(256))
# contractions in every case, ſ, which is an s in another case, digits, runs of whitespace, marks, joiners, the mark
WORDS = TRICKY | st.text("'sSſtTlLvVrReEmMdD \n\r019aÀ\u0300\u200c\u0915\u094d", max_size=40) | st.just(END_OF_TEXT)


def exported(vocabulary: Vocabulary) -> Tokenizer:
    tokenizer = Tokenizer.from_str(tokenizer_files(vocabulary, 128)["tokenizer.json"].decode())
    tokenizer.encode_special_tokens = True  # as `Vocabulary.encode`, for which special tokens in a text are text
    return tokenizer


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Vocabulary, Tokenizer]]:
    """Vocabularies and what they are exported as."""
    found = vocabularies_of_each_kind()
    found["old"] = Vocabulary("old", OLD_PATTERN, found["bpe"].ranks)
    found["marks"] = Vocabulary("marks", MARKS_PATTERN, found["bpe"].ranks)
    return [(vocabulary, exported(vocabulary)) for vocabulary in found.values()]


@pytest.mark.heavy
@settings(max_examples=150, deadline=None)
@given(text=WORDS)
def test_any_text_has_the_same_ids(pairs: list[tuple[Vocabulary, Tokenizer]], text: str) -> None:
    for vocabulary, tokenizer in pairs:
        ids = vocabulary.encode(text)
        assert tokenizer.encode(text).ids == ids, vocabulary.name
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


@pytest.mark.heavy
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_ids_have_the_same_text(pairs: list[tuple[Vocabulary, Tokenizer]], data: st.DataObject) -> None:
    for vocabulary, tokenizer in pairs:  # characters that are cut off, unused ids and special tokens, too
        ids = data.draw(st.lists(st.integers(0, vocabulary.size - 1), max_size=20))
        assert tokenizer.decode(ids, skip_special_tokens=False) == vocabulary.decode(ids)


@settings(max_examples=60, deadline=None)
@given(
    entries=st.lists(st.text("ab", min_size=2, max_size=6), unique=True, max_size=12),
    texts=st.lists(st.text("ab", max_size=24), max_size=4),
)
def test_one_merge_for_each_entry_is_enough(entries: list[str], texts: list[str]) -> None:
    # in any order, with entries that no merge makes: as words of their own they are tokens all the same
    vocabulary = Vocabulary("made up", PATTERN, [*BYTES, *(entry.encode() for entry in entries)])
    tokenizer = exported(vocabulary)
    for text in (*texts, *entries):
        assert tokenizer.encode(text).ids == vocabulary.encode(text)


def test_an_entry_is_made_by_the_merge_that_comes_last_in_it() -> None:
    ranks = [*BYTES, b"bc", b"ab", b"abc", b"abcd", b"xyz"]
    assert merges_of(ranks) == [(b"b", b"c"), (b"a", b"b"), (b"a", b"bc"), (b"abc", b"d")]


def test_a_special_token_in_a_text_is_one_by_default(pairs: list[tuple[Vocabulary, Tokenizer]]) -> None:
    for vocabulary, _ in pairs:
        tokenizer = Tokenizer.from_str(tokenizer_files(vocabulary, 128)["tokenizer.json"].decode())
        ids = [*vocabulary.encode("the"), vocabulary.end_of_text, *vocabulary.encode("fox")]
        assert tokenizer.encode(f"the{END_OF_TEXT}fox").ids == ids
        assert tokenizer.decode(ids) == "thefox"


@needs_files
def test_the_merges_of_gpt2_are_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(CACHE))
    gpt2 = return_value(load_encoding("gpt2", ProgressMeter(None)))
    content = json.loads(tokenizer_files(gpt2, 1024)["tokenizer.json"])
    merges = content["model"]["merges"]
    assert merges == MERGES.read_text("utf-8").splitlines()[1:]  # after "#version: 0.2"
    assert content["added_tokens"][0]["id"] == 50_256


def test_the_end_of_text_token_begins_and_ends_a_text(pairs: list[tuple[Vocabulary, Tokenizer]]) -> None:
    files = tokenizer_files(pairs[0][0], 128)
    config = json.loads(files["tokenizer_config.json"])
    marks = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
    assert json.loads(files["special_tokens_map.json"]) == marks
    assert marks.items() <= config.items() and config["model_max_length"] == 128
    assert not config["add_bos_token"]


def test_an_unknown_pattern_is_refused() -> None:
    with pytest.raises(TokenizerExportError, match=r"split by a pattern.*\[a-z\]"):
        tokenizer_files(Vocabulary("foreign", r"[a-z]+|[^a-z]+", BYTES), 128)
