"""Completion of the names of sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.sources.complete import complete_path, complete_source
from core.storage.artifact import write_directory
from core.storage.workspace import Workspace


def test_paths_complete_folders_first_and_hide_what_cannot_be_typed(tmp_path: Path) -> None:
    for name in ("books", "beta"):
        (tmp_path / name).mkdir()
    for name in ("b.txt", ".hidden", "bad\x1b[31m.txt", "other.txt"):
        (tmp_path / name).write_text("x")
    assert complete_path(f"{tmp_path}/b") == [f"{tmp_path}/beta/", f"{tmp_path}/books/", f"{tmp_path}/b.txt"]
    assert complete_path(f"{tmp_path}/.h") == [f"{tmp_path}/.hidden"]
    assert f"{tmp_path}/.hidden" not in complete_path(f"{tmp_path}/")
    assert complete_path(f"{tmp_path}/absent/x") == [] and complete_path("~no-such-user/x") == []
    assert complete_path("a\0b/") == []


def test_well_known_and_prepared_corpora_are_found_by_part_of_their_name(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (workspace.artifacts / "documents").mkdir()
    write_directory(
        workspace.artifacts / "documents" / "bard-0123456789abcdef",
        "download",
        "0123456789abcdef",
        lambda path: (path / "x").write_text("x") and None,
        facts={"bytes": 1200},
        recipe={"corpus": "/texts/tiny bard.txt"},
    )
    assert [each.value for each in complete_source("tiny", workspace)] == ["/texts/tiny bard.txt", "hf:tinystories"]
    first = complete_source("", workspace)[0]
    assert (first.value, first.about, first.bytes) == ("/texts/tiny bard.txt", "prepared on this machine", 1200)
    (workspace.artifacts / "documents" / "bard-0123456789abcdef" / "manifest.json").write_text("{")
    assert "/texts/tiny bard.txt" not in {each.value for each in complete_source("", workspace)}
    assert {"stdlib", "stories", "hf:bookcorpus"} <= {each.value for each in complete_source("", workspace)}
