"""Every vocabulary: the ids others publish for it, any text back, files from anywhere, marks in the data."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import tiktoken
import tiktoken_ext.openai_public as published
from hypothesis import given, settings
from hypothesis import strategies as st

from core.processes.progress import ProgressMeter
from core.recipe.schema import Preprocess, Tokenize
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from core.tokenize import VocabularyUnavailableError, bpe
from core.tokenize.characters import byte_vocabulary, character_vocabulary
from core.tokenize.codecs import DOCUMENT_SEPARATOR
from core.tokenize.encodings import ENCODINGS, load_encoding
from core.tokenize.vocabulary import END_OF_TEXT, Vocabulary, VocabularyError, split_chunks
from core.vocab import known
from core.vocab.known import FILES, FILES_OF, UnknownVocabularyError, encodings_of, import_files, imported_directory
from core.vocab.report import read_report
from tests.core.stages import clean_of, made, make, tokenizing

SHARED = Path(__file__).parents[3] / "shared"
CACHE = SHARED / "tiktoken-cache"
R50K = CACHE / hashlib.sha1(b"https://openaipublic.blob.core.windows.net/encodings/r50k_base.tiktoken").hexdigest()
MERGES = CACHE / "6d1cbeee0f20b3d9449abfede4726ed8212e3aee"
ENCODER = CACHE / "6c7ea1a7e38e3a7f062df639a5b80947f075ffe6"
needs_files = pytest.mark.skipif(not CACHE.is_dir(), reason="the published files are not here")
needs_texts = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the reference texts are not here")

TRICKY = st.text() | st.text("<|endoftx> \n\r\t\v\u3000\u0085019é😀'sT/S'Llaｋⅷ̈.!-\0\1", max_size=60)


def made_up_ranks() -> dict[bytes, int]:
    """Five hundred merges learned from this file, with gaps in front of every hundredth id."""
    entries = bpe.train_bpe(split_chunks(Path(__file__).read_text(), 2000), 757).ranks
    return {token: index + index // 100 for index, token in enumerate(entries)}


@pytest.fixture(scope="module")
def ranks() -> dict[bytes, int]:
    return made_up_ranks()


def dense(ranks: dict[bytes, int]) -> list[bytes]:
    entries = {index: token for token, index in ranks.items()}
    return [entries.get(index, b"") for index in range(max(entries) + 1)]


@pytest.fixture(scope="module")
def every(ranks: dict[bytes, int]) -> dict[str, Vocabulary]:
    """One vocabulary of each kind, and one with each of tiktoken's patterns."""
    patterns = {pattern: name for name, (pattern, _) in ENCODINGS.items()}
    found = {name: Vocabulary(name, pattern, dense(ranks), {END_OF_TEXT: 900}) for pattern, name in patterns.items()}
    found["bpe"] = bpe.train_bpe(split_chunks(Path(__file__).read_text(), 2000), 400)
    found["characters"] = character_vocabulary(sorted(set("the quick brown fox ☃ é 日本 😀\n")))
    found["bytes"] = byte_vocabulary()
    return found


KINDS = ("gpt2", "r50k", "cl100k", "o200k", "bpe", "characters", "bytes")


def of(every: dict[str, Vocabulary], kind: str) -> Vocabulary:
    """The one whose name begins so; the patterns of GPT-2 and r50k are the same."""
    kind = {"gpt2": "p50k", "r50k": "p50k"}.get(kind, kind)
    return next(vocabulary for name, vocabulary in every.items() if name.startswith(kind))


# -- any text, exactly ------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("kind", ["gpt2", "cl100k", "o200k", "characters", "bytes"])
@pytest.mark.parametrize("character", [" ", "\n", "a", "A", "-", "7", "'", "\u3000", "😀", "\u0300"])
def test_a_million_of_one_character_is_no_trouble(every: dict[str, Vocabulary], kind: str, character: str) -> None:
    vocabulary = of(every, kind)
    assert vocabulary.decode(vocabulary.encode(character * 1_000_000 + "x")) == character * 1_000_000 + "x"


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


# -- tiktoken's -------------------------------------------------------------------------------------------------------


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
    yield {name: make() for name, make in published.ENCODING_CONSTRUCTORS.items()} | {"files": wanted}  # type: ignore[dict-item]


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
            pairs.append((tiktoken.Encoding(**fields), Vocabulary(name, pattern, dense(ranks), special)))
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
    entry = known.Published("p50k_base.tiktoken", hashlib.sha256(content).hexdigest(), "https://example.org/p50k")
    monkeypatch.setattr(known, "FILES", (entry,))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "some name").write_bytes(content)
    assert import_files([tmp_path / "some name"], Workspace().prepare()) == [entry]
    vocabulary = made(load_encoding("p50k_edit", ProgressMeter(None)))
    assert vocabulary.ranks == tuple(dense(ranks))
    assert (vocabulary.size, vocabulary.end_of_text) == (50_284, 50_256)


@needs_files
def test_both_files_of_gpt2_give_the_same_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    workspace, found = Workspace().prepare(), []
    for source in (R50K, MERGES):
        (entry,) = import_files([source], workspace)
        found.append(made(load_encoding("gpt2", ProgressMeter(None))))
        (imported_directory(workspace) / entry.file).unlink()
    assert found[0].ranks == found[1].ranks and len(found[0].ranks) == 50_256
    assert found[0].encode("Hello, I am") == [15496, 11, 314, 716]


# -- a file that the user hands over ----------------------------------------------------------------------------------


@needs_files
@pytest.mark.parametrize("what", [[MERGES, ENCODER], [CACHE], [R50K]])
def test_an_imported_file_serves_gpt2_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: list[Path]
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    workspace = Workspace().prepare()
    kept = import_files(what, workspace)
    assert all("gpt2" in encodings_of(entry) for entry in kept) and known.ENCODER not in kept
    (tmp_path / "text").write_text("Hello, I am\n" * 500)
    clean = clean_of(tmp_path, tmp_path / "text", Preprocess(steps=()))
    tokens = make(tmp_path / "tokens", tokenizing(clean, Tokenize(vocabulary="gpt2")))
    assert tokens.facts["vocabulary_size"] == 50_257


@needs_files
def test_an_imported_file_that_was_changed_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    workspace = Workspace().prepare()
    (entry,) = import_files([R50K], workspace)
    file = imported_directory(workspace) / entry.file
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(VocabularyUnavailableError, match="neither in tiktoken's cache nor imported") as trouble:
        made(load_encoding("r50k_base", ProgressMeter(None)))
    assert "llmtui vocab import r50k_base.tiktoken" in trouble.value.todo


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("p50k_base.tiktoken", b"IQ== 0\n", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"),
        ("x", b"", "none of the published vocabulary files: its SHA-256 is e3b0c44298fc1c149afbf4c8996fb92427ae41e4"),
        ("x", b"\0" * (2**24 + 1), "no file of at most 16 MiB"),
    ],
    ids=["changed", "empty", "large"],
)
def test_an_unknown_file_is_refused_with_what_was_expected(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    workspace = Workspace().prepare()
    with pytest.raises(UnknownVocabularyError) as trouble:
        import_files([tmp_path / name], workspace)
    assert sentence in trouble.value.what
    assert not imported_directory(workspace).exists()


@needs_files
def test_the_encoder_alone_is_not_enough() -> None:
    with pytest.raises(UnknownVocabularyError, match="alone") as trouble:
        import_files([ENCODER], Workspace().prepare())
    assert "vocab.bpe" in trouble.value.todo


# -- characters and bytes ---------------------------------------------------------------------------------------------


@needs_texts
def test_the_characters_of_tiny_shakespeare_have_nanogpts_ids(tmp_path: Path) -> None:
    clean = clean_of(tmp_path, SHARED / "data" / "tinyshakespeare.txt", Preprocess(steps=(), validation=0.1))
    tokens = make(tmp_path / "tokens", tokenizing(clean, Tokenize(vocabulary="characters")))
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


# -- files ------------------------------------------------------------------------------------------------------------


def test_every_vocabulary_is_the_same_after_saving(every: dict[str, Vocabulary], tmp_path: Path) -> None:
    text = Path(__file__).read_text()
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


# -- the report -------------------------------------------------------------------------------------------------------


def test_the_report_counts_what_the_training_text_uses(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("ab" * 6_000 + "c" * 1_000)
    clean = clean_of(tmp_path, tmp_path / "text", Preprocess(steps=(), validation=0.05))
    tokens: Artifact = make(tmp_path / "tokens", tokenizing(clean, Tokenize(vocabulary="bytes")))
    report = read_report(tokens.path)
    assert (report.size, report.entries, report.used, report.unused) == (257, 256, 3, 253)
    assert report.unused_share == 253 / 256
    assert [(entry.text, entry.count) for entry in report.frequent] == [("a", 6_000), ("b", 6_000), ("c", 350)]
    assert report.bytes_per_token == tokens.facts["bytes_per_token"] == round(650 / 651, 4)


def test_the_report_lists_the_longest_entries_and_whether_they_occur(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a remarkable sentence\n" * 1000)
    tokens = make(
        tmp_path / "tokens", tokenizing(clean_of(tmp_path, tmp_path / "text", Preprocess(steps=())), Tokenize(size=300))
    )
    report = read_report(tokens.path)
    assert (report.longest[0].text, report.longest[0].bytes) == (" remarkable", 11)
    assert report.longest[0].count == 950
    assert report.learned_from == int(tokens.facts["train_bytes"])
    assert report.unused > 200, "the parts of a merge that are never alone"
