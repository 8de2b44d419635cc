"""Patterns of paths as sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from core import download
from core.recipe.schema import Source
from core.sources.catalog import UnknownSourceError
from tests.core.source_files import (
    download_texts,
    parts_of,
    write_file,
)
from tests.core.stages import (
    downloading,
    run_stage,
)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for name in ("a.txt", "b.md", "sub/c.txt", "sub/deep/d.txt", "sub/.hidden.txt", "other/e.txt"):
        write_file(tmp_path / "lib[1]" / name, name)
    return tmp_path / "lib[1]"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.txt", ["a.txt"]),
        ("[ab].*", ["a.txt", "b.md"]),
        ("*/?.txt", ["other/e.txt", "sub/c.txt"]),
        ("**/*.txt", ["a.txt", "other/e.txt", "sub/c.txt", "sub/deep/d.txt"]),
        ("sub/**", ["c.txt", "deep/d.txt"]),
        ("s*", ["sub/c.txt", "sub/deep/d.txt"]),
    ],
)
def test_a_pattern_selects_the_files_that_match(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, names: list[str]
) -> None:
    monkeypatch.chdir(library)
    from core.sources.catalog import absolute

    place = absolute(pattern)
    monkeypatch.chdir(tmp_path)
    assert absolute(place) == place
    artifact = run_stage(tmp_path / "out", downloading(place))
    assert [part.name for part in parts_of(artifact)] == names


def test_a_pattern_without_matches_is_an_error(tmp_path: Path) -> None:
    for pattern in ("*.txt", "**/*.txt"):
        with pytest.raises(UnknownSourceError, match="matches") as error:
            download.source_fingerprint(Source(corpus=str(tmp_path / pattern)))
        assert error.value.todo


def test_circular_links_are_read_once(tmp_path: Path) -> None:
    write_file(tmp_path / "s" / "a" / "t.txt", "once")
    (tmp_path / "s" / "a" / "up").symlink_to(tmp_path / "s")
    assert download_texts(f"{tmp_path}/s/**/*.txt", tmp_path / "out") == ["once"]


def test_the_fingerprint_of_a_pattern_depends_on_its_files(tmp_path: Path) -> None:
    write_file(tmp_path / "a.txt", "one")
    before = download.source_fingerprint(Source(corpus=f"{tmp_path}/*.txt"))
    write_file(tmp_path / "b.md", "no matter")
    assert download.source_fingerprint(Source(corpus=f"{tmp_path}/*.txt")) == before
    write_file(tmp_path / "b.txt", "two")
    assert download.source_fingerprint(Source(corpus=f"{tmp_path}/*.txt")) != before
