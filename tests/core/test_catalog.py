"""The kinds of sources, and what the name of a source means."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import download
from core.recipe.schema import Source
from core.sources.catalog import UnknownSourceError, absolute, resolve_corpus, source_name
from core.sources.corpora import CorpusError
from core.storage.workspace import check_name


def test_an_unknown_source_raises_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownSourceError) as caught:
        download.source_fingerprint(Source(corpus="stdlb"))
    assert "'stdlib'" in caught.value.todo and caught.value.exit_code == 2
    (tmp_path / "shakespeare.txt").write_text("To be")
    with pytest.raises(UnknownSourceError, match="no such file") as caught:
        download.source_fingerprint(Source(corpus=str(tmp_path / "shakespear.txt")))
    assert caught.value.todo.startswith("did you mean 'shakespeare.txt'? A source is 'stdlib'")


def test_an_empty_folder_is_refused_before_a_run_waits_for_it(tmp_path: Path) -> None:
    with pytest.raises(UnknownSourceError, match="the folder is empty"):
        resolve_corpus(str(tmp_path))
    (tmp_path / "text.txt").write_text("To be")
    assert resolve_corpus(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    "corpus", ["stdlib", "stories", "hf:bookcorpus", "hf:user/name@v1", "https://example.org/a.txt"]
)
def test_resolve_leaves_a_source_that_is_no_path_unchanged(corpus: str, tmp_path: Path) -> None:
    assert resolve_corpus(corpus) == absolute(corpus, tmp_path) == corpus


def test_an_existing_file_takes_precedence_over_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hf:notes").write_text("text")
    monkeypatch.chdir(tmp_path)
    assert resolve_corpus("hf:notes") == str(tmp_path / "hf:notes")


def test_a_well_known_corpus_without_its_prefix_raises_with_the_full_name() -> None:
    with pytest.raises(UnknownSourceError) as caught:
        resolve_corpus("BookCorpus")
    assert caught.value.todo.startswith("did you mean 'hf:bookcorpus'?")
    assert all(kind in caught.value.todo for kind in ("'stdlib'", "'stories'", "'hf:NAME'", "https URL", "pattern"))
    with pytest.raises(CorpusError, match="'hf:' does not name"):
        resolve_corpus("hf:")


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("books/**/*.txt", "books"),
        ("books/[ab]/?.txt", "books"),
        ("books/part-*.txt.gz", "part"),
        ("*.txt", "here"),
        (".", "here"),
        ("日本.txt", "here"),
        ("Books.TXT", "books"),
        ("a..b.txt", "a.b"),
        ("Größe é.txt", "grosse-e"),
        ("https://example.org/", "example.org"),
        ("https://example.org/%E6%97%A5.txt", "example.org"),
        ("https://example.org/a/Moby%20Dick.txt.gz?x=1", "moby-dick"),
        ("hf:roneneldan/TinyStories@main", "tinystories"),
        ("/", "text"),
    ],
)
def test_a_run_is_named_after_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: str, name: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert check_name(source_name(corpus)) == name
