"""Paths, URLs and recipes that are invalid or not UTF-8: they work, or give an error message."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from core.sources.catalog import UnknownSourceError, resolve_corpus, source_name
from core.storage.files import private
from core.storage.workspace import Workspace, WorkspaceError
from llmtui.cli.console import print_json
from llmtui.cli.main import run as llmtui
from llmtui.clients.child_job import open_log
from tests.ui.fake_runs import finished_run


def usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The error message of `llmtui` for invalid `arguments`."""
    assert llmtui(arguments) == 2
    message = capsys.readouterr().err
    assert "should not have happened" not in message
    return message


@pytest.mark.parametrize("source", ["~nobody-of-this-name/x", "https://[x]", "https://[x", "https://[::1", "a\x00b"])
@pytest.mark.parametrize("command", [["run"], ["data", "preview"], ["data", "prepare"]])
def test_an_invalid_source_gives_an_error_message(
    workspace: Workspace, source: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert usage_error([*command, source], capsys).startswith("llmtui: cannot")


@pytest.mark.parametrize(
    "url", ["https://a.b/c/d.txt.gz?x=[#y", "https://a.b/c/d.txt", "https://a.b/d?/e", "https://[::1]/d"]
)
def test_the_name_of_a_url_is_its_last_path_segment(url: str) -> None:
    assert source_name(url) == "d"


def test_a_deeply_nested_recipe_gives_an_error_message(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep.toml").write_text("a = " + "[" * 10_000)
    assert "nested" in usage_error(["run", str(tmp_path / "deep.toml")], capsys)
    assert "cannot" in usage_error(["recipe", "--set", "train.lr=" + "[" * 10_000], capsys)
    assert "cannot" in usage_error(["recipe", "--set", "train.lr=" + "9" * 5000], capsys)


def test_a_current_directory_that_was_deleted_is_named_as_the_reason(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert llmtui(["plan", "text.txt"]) == 1
    assert "the current directory was deleted\n        change to another one\n" in capsys.readouterr().err
    assert llmtui(["ls"]) == 0


def test_paths_that_are_not_utf_8_are_shown_but_not_stored(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        odd.mkdir()
    except OSError:
        pytest.skip("this file system requires UTF-8 names")
    (odd / "text.txt").write_text("some text")
    monkeypatch.chdir(odd)
    with pytest.raises(UnknownSourceError, match="UTF-8"):
        resolve_corpus("text.txt")
    print_json({"path": str(odd), "of": [float("nan"), {str(odd): 1}]})
    printed = json.loads(capsys.readouterr().out)
    assert printed["path"].endswith("caf\ufffd")
    assert printed["of"][0] is None

    finished_run(workspace, "moved", 5)
    monkeypatch.setenv("LLMTUI_HOME", str(odd / "home"))
    (odd / "home").mkdir()
    assert workspace.home is not None
    workspace.data.rename(odd / "home" / "data")
    for command in (["ls"], ["ls", "--json"], ["show"], ["show", "--json"], ["locate"]):
        assert llmtui(command) == 0
        assert "caf" in capsys.readouterr().out or command == ["ls"]
    with pytest.raises(WorkspaceError, match="UTF-8"):
        Workspace().prepare()


def test_logs_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        open_log(tmp_path / "inference.log").close()
        with open(tmp_path / "other.log", "ab", opener=private):
            pass
        for name in ("inference.log", "other.log"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    finally:
        os.umask(before)
