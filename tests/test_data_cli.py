"""`llmtui data`: corpora, steps, preview, prepare, export, and accepting a corpus's notice."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from core.recipe.file import load
from core.recipe.schema import Preprocess
from core.runs.lookup import all_runs
from core.sources.corpora import CORPORA
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.core.stages import file_digests

LLMTUI = [sys.executable, "-P", "-c", "from llmtui.cli.main import main; main()"]
ROOT = Path(__file__).parent.parent
HOSTILE = "\x1b]0;owned\x07\u202e"


@pytest.fixture(autouse=True)
def in_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in its own directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    """Thirty documents, some of which are changed or removed by cleaning."""
    folder = tmp_path / "dirty"
    folder.mkdir()
    for n in range(28):
        (folder / f"{n:02d}.txt").write_text("".join(f"line {k} of document {n}   \n" for k in range(20)))
    (folder / "copy.txt").write_text((folder / "05.txt").read_text())
    (folder / "hostile.txt").write_text(f"{HOSTILE} says\r\nhello\n" * 10)
    return folder


# -- lists -------------------------------------------------------------------------------------------------------------


def test_corpora_lists_known_corpora_with_size_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["data", "corpora"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(CORPORA) and max(map(len, lines)) < 120
    [books] = [line for line in lines if line.startswith("hf:bookcorpus ")]
    assert "4.85 GB" in books and "without the authors' consent" in books


def test_steps_lists_every_step_a_recipe_accepts(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["data", "steps", "--json"]) == 0
    steps = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    allowed = get_args(get_args(get_type_hints(Preprocess)["steps"])[0])
    assert {step["name"] for step in steps} == set(allowed) and all(step["why"] for step in steps)


# -- preview -----------------------------------------------------------------------------------------------------------


def test_preview_marks_differences_and_counts_changes_of_each_step(
    dirty: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["data", "preview", str(dirty), "--documents", "30"]) == 0
    captured = capsys.readouterr()
    assert "line 0 of document 3[-   -]" in captured.out
    assert any(line.split() == ["duplicates", "0", "1", "−430"] for line in captured.out.splitlines())
    assert "control_characters" in captured.out and "trailing_space" in captured.out
    assert "\x1b" not in captured.out and "\u202e" not in captured.out
    assert "download    done" in captured.err
    assert list(workspace.cache.glob("preview-*")) == [] and not list(workspace.artifacts.rglob("*.parquet"))


def test_preview_with_json_prints_a_report_and_excerpts(
    dirty: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["data", "preview", str(dirty), "--documents", "2", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["type"] for record in records] == ["Report", "Excerpt", "Excerpt"]
    assert records[0]["before"]["documents"] == 30 and records[1]["before"] != records[1]["after"]


def test_preview_shows_text_that_is_too_short_to_train_on(
    tmp_path: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note.txt").write_text("only a few words  \n")
    assert command_line(["data", "preview", "note.txt"]) == 0
    captured = capsys.readouterr()
    assert "only a few words[-  -]" in captured.out and "too little to train on" in captured.err


def test_preview_of_an_unknown_source_gives_an_error_message(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["data", "preview", "nowhere"]) == 2
    assert "'nowhere' is not" in capsys.readouterr().err


# -- prepare and export ------------------------------------------------------------------------------------------------


def test_prepare_writes_the_shards_only_once(
    dirty: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["data", "prepare", str(dirty), "--set", "tokenize.size=300"]) == 0
    first = capsys.readouterr()
    assert Artifact.open(Path(first.out.strip()), verify=True).manifest.stage == "tokenize"
    assert command_line(["data", "prepare", str(dirty), "--set", "tokenize.size=300"]) == 0
    again = capsys.readouterr()
    assert again.out == first.out and again.err.count("up to date") == 3
    assert not all_runs(workspace)


def test_parts_prepared_separately_are_merged(
    dirty: Path,
    workspace: Workspace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = [str(dirty), "--set", "tokenize.size=300"]
    for part in ("1/2", "2/2"):
        assert command_line(["data", "prepare", *arguments, "--part", part]) == 0
    capsys.readouterr()
    assert command_line(["data", "prepare", *arguments]) == 0
    merged = Artifact.open(Path(capsys.readouterr().out.strip()), verify=True)
    monkeypatch.setenv("LLMTUI_HOME", str(tmp_path / "another"))
    assert command_line(["data", "prepare", *arguments]) == 0
    whole = Artifact.open(Path(capsys.readouterr().out.strip()), verify=True)
    assert file_digests(merged) == file_digests(whole)


@pytest.mark.parametrize("part", ["3/2", "0/2", "1", "x/y", "1/99999999"])
def test_an_invalid_part_is_rejected(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["data", "prepare", "stdlib", "--part", part]) == 2
    assert "is not I/N" in capsys.readouterr().err


def test_export_writes_each_stage_to_its_default_file_name(
    dirty: Path, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["data", "prepare", str(dirty), "--set", "tokenize.size=300"]) == 0
    for stage in ("raw", "clean", "tokens"):
        assert command_line(["data", "export", "dirty", "--stage", stage]) == 0
    raw, clean, tokens = (
        (tmp_path / name).read_text() for name in ("dirty.txt", "dirty_preprocessed.txt", "tokenized_dirty.txt")
    )
    assert raw.count("line 0 of document 5   \n") == 2 and clean.count("line 0 of document 5\n") == 1
    assert len(tokens.splitlines()) == 29 and set(tokens) <= set("0123456789 \n")
    assert command_line(["data", "export", "dirty", "--stage", "raw"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert command_line(["data", "export", "dirty", "--stage", "raw", "--force", "--to", "dirty.txt"]) == 0
    assert command_line(["data", "export", "dirtz"]) == 2
    assert "did you mean 'dirty'?" in capsys.readouterr().err


# -- accepting a corpus's notice ---------------------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub cannot be reached."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", "hf-home")


def test_bookcorpus_is_not_downloaded_without_consent(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["run", "hf:bookcorpus"]) == 2
    captured = capsys.readouterr().err
    assert CORPORA["bookcorpus"].notice in captured and "repeat it with --yes" in captured
    assert not all_runs(workspace)


def test_bookcorpus_without_network_gives_an_error_message(
    workspace: Workspace, offline: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["data", "prepare", "hf:bookcorpus", "--yes"]) == 1
    captured = capsys.readouterr().err
    assert (
        "cannot be reached" in captured
        and "internet" in captured
        and "stdlib" in captured
        and "Traceback" not in captured
    )
    # consent is remembered
    assert command_line(["data", "prepare", "hf:bookcorpus"]) == 1
    assert CORPORA["bookcorpus"].notice not in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 130), (b"y\n", 1)])
def test_on_a_terminal_consent_is_asked_for(workspace: Workspace, offline: None, answer: bytes, code: int) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*LLMTUI, "data", "prepare", "hf:bookcorpus"],
        stdin=slave,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    os.write(master, answer)
    _, error = process.communicate()
    os.close(master)
    os.close(slave)
    assert "Do you accept it?" in error.decode() and process.returncode == code
    assert (workspace.state / "agreed.json").exists() == (answer == b"y\n")


def test_a_known_corpus_sets_defaults_that_can_be_overridden() -> None:
    books = load(base={"source": {"corpus": "hf:bookcorpus"}})
    assert "passages" in books.preprocess.steps and books.preprocess.split == "tail"
    own = load(base={"source": {"corpus": "hf:bookcorpus"}}, overrides=['preprocess.steps=["empty"]'])
    assert own.preprocess.steps == ("empty",) and own.preprocess.split == "tail"
