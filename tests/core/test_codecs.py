"""Encoders of BPE, characters and bytes: any text, exactly."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.recipe.schema import Preprocess, Tokenize
from core.tokenize.characters import byte_vocabulary, character_vocabulary
from core.tokenize.codecs import DOCUMENT_SEPARATOR
from core.tokenize.vocabulary import END_OF_TEXT, Vocabulary, VocabularyError
from tests.core.stages import clean_documents, run_stage, tokenizing
from tests.core.vocabularies import SHARED, TRAINING_TEXT, TRICKY, needs_texts, vocabularies_of_each_kind


@pytest.fixture(scope="module")
def every() -> dict[str, Vocabulary]:
    return vocabularies_of_each_kind()


KINDS = ("gpt2", "r50k", "cl100k", "o200k", "bpe", "characters", "bytes")


def of(every: dict[str, Vocabulary], kind: str) -> Vocabulary:
    """The one whose name begins so; the patterns of GPT-2 and r50k are the same."""
    kind = {"gpt2": "p50k", "r50k": "p50k"}.get(kind, kind)
    return next(vocabulary for name, vocabulary in every.items() if name.startswith(kind))


@pytest.mark.heavy
@settings(max_examples=150, deadline=None)
@given(text=TRICKY)
def test_every_vocabulary_gives_any_text_back(every: dict[str, Vocabulary], text: str) -> None:
    for vocabulary in every.values():
        ids = vocabulary.encode(text)
        assert vocabulary.decode_bytes(ids) == text.encode()
        assert vocabulary.end_of_text not in ids and all(0 <= token < vocabulary.size for token in ids)


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(categories=("Cs", "L", "Zs"))))
def test_lone_surrogates_become_replacement_characters_in_every_vocabulary(
    every: dict[str, Vocabulary], text: str
) -> None:
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for vocabulary in every.values():
        assert vocabulary.decode(vocabulary.encode(text)) == expected


@pytest.mark.parametrize("kind", sorted(set(KINDS)))
def test_the_end_of_text_mark_in_data_is_text(every: dict[str, Vocabulary], kind: str) -> None:
    vocabulary = of(every, kind)
    ids = vocabulary.encode(f"a{END_OF_TEXT}b{END_OF_TEXT}")
    assert vocabulary.end_of_text not in ids and len(ids) > 4
    assert vocabulary.decode(ids) == f"a{END_OF_TEXT}b{END_OF_TEXT}"
    assert vocabulary.decode([vocabulary.end_of_text]) == END_OF_TEXT


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["gpt2", "cl100k", "o200k", "characters", "bytes"])
@pytest.mark.parametrize("character", [" ", "\n", "a", "A", "-", "7", "'", "\u3000", "😀", "\u0300"])
def test_very_many_of_one_character_are_no_trouble(every: dict[str, Vocabulary], kind: str, character: str) -> None:
    vocabulary = of(every, kind)
    # the patterns look ahead from white space alone, where an engine that goes back gives up after a million steps
    text = character * (1_000_000 if character.isspace() else 200_000) + "x"
    assert vocabulary.decode(vocabulary.encode(text)) == text


@pytest.mark.heavy
@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(
        TRICKY | st.sampled_from([DOCUMENT_SEPARATOR[:5], DOCUMENT_SEPARATOR[-5:], "\0", "\1"]), min_size=1, max_size=8
    )
)
def test_joined_documents_have_the_ids_of_each(every: dict[str, Vocabulary], texts: list[str]) -> None:
    for vocabulary in every.values():
        expected: list[int] = []
        for text in texts:
            expected += [*vocabulary.encode(text), vocabulary.end_of_text]
        assert vocabulary.encode_chunk(DOCUMENT_SEPARATOR.join(texts), joined=True).tolist() == expected[:-1]
        assert vocabulary.decode(vocabulary.encode(DOCUMENT_SEPARATOR)) == DOCUMENT_SEPARATOR


def test_the_joint_cannot_overlap_with_itself() -> None:
    assert not any(
        DOCUMENT_SEPARATOR.endswith(DOCUMENT_SEPARATOR[:length]) for length in range(1, len(DOCUMENT_SEPARATOR))
    )


@needs_texts
def test_the_characters_of_tiny_shakespeare_have_nanogpts_ids(tmp_path: Path) -> None:
    clean = clean_documents(tmp_path, SHARED / "data" / "tinyshakespeare.txt", Preprocess(steps=(), validation=0.1))
    tokens = run_stage(tmp_path / "tokens", tokenizing(clean, Tokenize(vocabulary="characters")))
    vocabulary = Vocabulary.load(tokens.path / "vocabulary.json")
    # nanoGPT, data/shakespeare_char/prepare.py: 65 characters in their order; Karpathy, "Let's build GPT"
    assert b"".join(vocabulary.ranks[:65]).decode() == (
        "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    )
    assert vocabulary.encode("hii there") == [46, 47, 47, 1, 58, 46, 43, 56, 43]
    assert (vocabulary.size, vocabulary.end_of_text) == (257, 256)
    assert tokens.facts["train_tokens"] == int(clean.facts["train_bytes"]) + 1  # the mark


def test_what_is_no_known_character_is_written_in_bytes() -> None:
    vocabulary = character_vocabulary(["a", "é", "日"])
    assert vocabulary.encode("é日a") == [1, 2, 0]
    assert [vocabulary.ranks[token] for token in vocabulary.encode("aö")] == [b"a", b"\xc3", b"\xb6"]
    assert vocabulary.size == 3 + 255 + 1


def test_bytes_are_their_own_ids() -> None:
    assert byte_vocabulary().encode("é\n") == [0xC3, 0xA9, 10]
    assert (byte_vocabulary().size, byte_vocabulary().end_of_text) == (257, 256)


def test_every_vocabulary_is_the_same_after_saving(every: dict[str, Vocabulary], tmp_path: Path) -> None:
    text = TRAINING_TEXT
    for vocabulary in every.values():
        vocabulary.save(tmp_path / "v.json")
        loaded = Vocabulary.load(tmp_path / "v.json")
        assert (loaded.digest, loaded.size, loaded.end_of_text) == (
            vocabulary.digest,
            vocabulary.size,
            vocabulary.end_of_text,
        )
        assert loaded.encode(text) == vocabulary.encode(text)


def test_a_vocabulary_file_of_the_first_schema_still_loads(every: dict[str, Vocabulary], tmp_path: Path) -> None:
    own = every["bpe"]
    # as llmtui 0.1.0 wrote it
    digest = hashlib.sha256(msgspec.json.encode((own.pattern, END_OF_TEXT, own.ranks))).hexdigest()
    first = {
        "schema": 1,
        "name": "bpe",
        "pattern": own.pattern,
        "special": {END_OF_TEXT: len(own.ranks)},
        "ranks": list(own.ranks),
        "digest": digest,
    }
    path = tmp_path / "vocabulary.json"
    path.write_bytes(msgspec.json.encode(first))
    assert Vocabulary.load(path).encode("any text") == own.encode("any text")
    path.write_bytes(msgspec.json.encode(first | {"pattern": "."}))
    with pytest.raises(VocabularyError, match="has changed"):
        Vocabulary.load(path)
