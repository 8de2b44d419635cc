"""Vocabularies of tiktoken: the same tables, words and ids as tiktoken's own."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiktoken
import tiktoken_ext.openai_public as published
from hypothesis import given, settings

from core.processes.progress import ProgressMeter
from core.storage.workspace import Workspace
from core.tokenize.encodings import ENCODINGS, load_encoding
from core.tokenize.vocabulary import Vocabulary
from core.vocab import known
from core.vocab.known import FILES, FILES_OF, import_files, imported_directory
from tests.core.stages import return_value
from tests.core.vocabularies import MERGES, R50K, TRICKY, entries_by_id, made_up_ranks, needs_files


@pytest.fixture(scope="module")
def ranks() -> dict[bytes, int]:
    return made_up_ranks()


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch, ranks: dict[bytes, int]) -> Iterator[dict[str, dict[str, object]]]:
    """What the installed tiktoken says of each encoding, its files left aside; and which files it wants."""
    wanted: dict[str, tuple[str, str]] = {}

    def load(url: str, expected_hash: str) -> dict[bytes, int]:
        wanted[url.rpartition("/")[2]] = (url, expected_hash)
        return ranks

    def load_gpt2(vocab_bpe_file: str, encoder_json_file: str, vocab_bpe_hash: str, encoder_json_hash: str) -> object:
        wanted["vocab.bpe"] = (vocab_bpe_file, vocab_bpe_hash)
        wanted["encoder.json"] = (encoder_json_file, encoder_json_hash)
        return ranks

    monkeypatch.setattr(published, "load_tiktoken_bpe", load)
    monkeypatch.setattr(published, "data_gym_to_mergeable_bpe_ranks", load_gpt2)
    yield {name: make() for name, make in published.ENCODING_CONSTRUCTORS.items()} | {"files": wanted}


def test_the_tables_agree_with_tiktoken(theirs: dict[str, dict[str, object]]) -> None:
    files = theirs.pop("files")
    assert {entry.file: (entry.url, entry.sha256) for entry in (*FILES, known.ENCODER)} == files
    assert set(theirs) == set(ENCODINGS) == set(FILES_OF)
    for name, encoding in theirs.items():
        special = encoding["special_tokens"]
        assert isinstance(special, dict)
        ours = ENCODINGS[name].special
        assert ours.items() <= special.items()
        assert set(ours.values()) == set(special.values()), "tiktoken has two names for one id of o200k_harmony"
        size = max(special.values()) + 1
        # the merges of p50k_base end behind its mark
        assert encoding.get("explicit_n_vocab", size) == (50_281 if name == "p50k_base" else size)


@pytest.mark.heavy
@settings(max_examples=150, deadline=None)
@given(text=TRICKY)
def test_our_faster_patterns_cut_as_tiktokens(text: str) -> None:
    for theirs, ours in both():
        assert ours.encode(text) == theirs.encode_ordinary(text)


@functools.cache
def both() -> list[tuple[tiktoken.Encoding, Vocabulary]]:
    """Each encoding of tiktoken beside ours, both with the made-up merges."""
    ranks, pairs = made_up_ranks(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "load_tiktoken_bpe", lambda *_, **__: ranks)
        patch.setattr(published, "data_gym_to_mergeable_bpe_ranks", lambda *_, **__: ranks)
        for name, make in published.ENCODING_CONSTRUCTORS.items():
            fields = make() | {"explicit_n_vocab": None}
            pattern, special = ENCODINGS[name]
            pairs.append((tiktoken.Encoding(**fields), Vocabulary(name, pattern, entries_by_id(ranks), special)))
    return pairs


def test_gaps_and_marks_in_the_middle_are_tiktokens() -> None:
    expected = {"p50k_base": 50256, "cl100k_base": 100257, "o200k_base": 199999, "o200k_harmony": 199999}
    for theirs, ours in both():
        assert ours.size == theirs.n_vocab
        assert ours.end_of_text == theirs.eot_token == expected.get(ours.name, 50256)
        for mark in ours.special:
            assert ours.decode([ours.special[mark]]) == mark
            assert ours.special[mark] not in ours.encode(f"a {mark} b")
        gap = next(token for token in range(ours.size) if token < len(ours.ranks) and not ours.ranks[token])
        assert ours.decode([gap, ours.encode("a")[0]]) == "a"


def test_a_published_file_with_gaps_is_read(
    tmp_path: Path, ranks: dict[bytes, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [base64.b64encode(token) + b" " + str(rank).encode() for token, rank in ranks.items()]
    content = b"\n".join(reversed(lines)) + b"\n"
    entry = known.PublishedFile("p50k_base.tiktoken", hashlib.sha256(content).hexdigest(), "https://example.org/p50k")
    monkeypatch.setattr(known, "FILES", (entry,))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "some name").write_bytes(content)
    assert import_files([tmp_path / "some name"], Workspace().prepare()) == [entry]
    vocabulary = return_value(load_encoding("p50k_edit", ProgressMeter(None)))
    assert vocabulary.ranks == tuple(entries_by_id(ranks))
    assert (vocabulary.size, vocabulary.end_of_text) == (50_284, 50_256)


@pytest.mark.heavy
@needs_files
def test_both_files_of_gpt2_give_the_same_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    workspace, found = Workspace().prepare(), []
    for source in (R50K, MERGES):
        (entry,) = import_files([source], workspace)
        found.append(return_value(load_encoding("gpt2", ProgressMeter(None))))
        (imported_directory(workspace) / entry.file).unlink()
    assert found[0].ranks == found[1].ranks and len(found[0].ranks) == 50_256
    assert found[0].encode("Hello, I am") == [15496, 11, 314, 716]
