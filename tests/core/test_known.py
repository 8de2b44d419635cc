"""Published vocabulary files that the user imports."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.processes.progress import ProgressMeter
from core.recipe.schema import Preprocess, Tokenize
from core.storage.workspace import Workspace
from core.tokenize import VocabularyUnavailableError
from core.tokenize.encodings import load_encoding
from core.vocab import known
from core.vocab.known import UnknownVocabularyError, encodings_of, import_files, imported_directory
from tests.core.stages import clean_documents, return_value, run_stage, tokenizing
from tests.core.vocabularies import CACHE, ENCODER, MERGES, R50K, needs_files


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
    clean = clean_documents(tmp_path, tmp_path / "text", Preprocess(steps=()))
    tokens = run_stage(tmp_path / "tokens", tokenizing(clean, Tokenize(vocabulary="gpt2")))
    assert tokens.facts["vocabulary_size"] == 50_257


@needs_files
def test_an_imported_file_that_was_changed_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    workspace = Workspace().prepare()
    (entry,) = import_files([R50K], workspace)
    file = imported_directory(workspace) / entry.file
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(VocabularyUnavailableError, match="neither in tiktoken's cache nor imported") as caught:
        return_value(load_encoding("r50k_base", ProgressMeter(None)))
    assert "llmtui vocab import r50k_base.tiktoken" in caught.value.todo


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
    with pytest.raises(UnknownVocabularyError) as caught:
        import_files([tmp_path / name], workspace)
    assert sentence in caught.value.what
    assert not imported_directory(workspace).exists()


@needs_files
def test_the_encoder_alone_is_not_enough() -> None:
    with pytest.raises(UnknownVocabularyError, match="alone") as caught:
        import_files([ENCODER], Workspace().prepare())
    assert "vocab.bpe" in caught.value.todo
