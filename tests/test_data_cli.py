"""`llmtui data`: looking at corpora, preparing them, taking them out again; and what is asked before one is taken."""

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
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    """Thirty documents, some of which the cleaning has to do with."""
    folder = tmp_path / "dirty"
    folder.mkdir()
    for n in range(28):
        (folder / f"{n:02d}.txt").write_text("".join(f"line {k} of document {n}   \n" for k in range(20)))
    (folder / "copy.txt").write_text((folder / "05.txt").read_text())
    (folder / "hostile.txt").write_text(f"{HOSTILE} says\r\nhello\n" * 10)
    return folder


# -- lists -------------------------------------------------------------------------------------------------------------


def test_corpora_lists_what_is_known_by_name_with_size_and_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["data", "corpora"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(CORPORA) and max(map(len, lines)) < 120
    [books] = [line for line in lines if line.startswith("hf:bookcorpus ")]
    assert "4.85 GB" in books and "without the authors' consent" in books


def test_steps_lists_every_step_that_a_recipe_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["data", "steps", "--json"]) == 0
    steps = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    allowed = get_args(get_args(get_type_hints(Preprocess)["steps"])[0])
    assert {step["name"] for step in steps} == set(allowed) and all(step["why"] for step in steps)


# -- preview -----------------------------------------------------------------------------------------------------------


def test_preview_marks_what_differs_and_counts_what_each_step_did(
    dirty: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["data", "preview", str(dirty), "--documents", "30"]) == 0
    said = capsys.readouterr()
    assert "line 0 of document 3[-   -]" in said.out
    assert any(line.split() == ["duplicates", "0", "1", "−430"] for line in said.out.splitlines())
    assert "control_characters" in said.out and "trailing_space" in said.out
    assert "\x1b" not in said.out and "\u202e" not in said.out
    assert "download    done" in said.err
    assert list(workspace.cache.glob("preview-*")) == [] and not list(workspace.artifacts.rglob("*.parquet"))


def test_preview_as_json_is_excerpts_and_a_report(
    dirty: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["data", "preview", str(dirty), "--documents", "2", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["type"] for record in records] == ["Report", "Excerpt", "Excerpt"]
    assert records[0]["before"]["documents"] == 30 and records[1]["before"] != records[1]["after"]


def test_preview_of_too_little_text_shows_it_all_the_same(
    tmp_path: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note.txt").write_text("only a few words  \n")
    assert command_line(["data", "preview", "note.txt"]) == 0
    said = capsys.readouterr()
    assert "only a few words[-  -]" in said.out and "too little to train on" in said.err


def test_preview_of_what_is_not_there_is_a_sentence(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["data", "preview", "nowhere"]) == 2
    assert "'nowhere' is not" in capsys.readouterr().err


# -- prepare and export ------------------------------------------------------------------------------------------------


def test_prepare_makes_the_shards_once(dirty: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["data", "prepare", str(dirty), "--set", "tokenize.size=300"]) == 0
    first = capsys.readouterr()
    assert Artifact.open(Path(first.out.strip()), verify=True).manifest.stage == "tokenize"
    assert command_line(["data", "prepare", str(dirty), "--set", "tokenize.size=300"]) == 0
    again = capsys.readouterr()
    assert again.out == first.out and again.err.count("up to date") == 3
    assert not all_runs(workspace)


def test_parts_made_apart_are_put_together(
    dirty: Path,
    workspace: Workspace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = [str(dirty), "--set", "tokenize.size=300"]
    for part in ("1/2", "2/2"):
        assert command_line(["data", "prepare", *asked, "--part", part]) == 0
    capsys.readouterr()
    assert command_line(["data", "prepare", *asked]) == 0
    together = Artifact.open(Path(capsys.readouterr().out.strip()), verify=True)
    monkeypatch.setenv("LLMTUI_HOME", str(tmp_path / "another"))
    assert command_line(["data", "prepare", *asked]) == 0
    alone = Artifact.open(Path(capsys.readouterr().out.strip()), verify=True)
    assert file_digests(together) == file_digests(alone)


@pytest.mark.parametrize("part", ["3/2", "0/2", "1", "x/y", "1/99999999"])
def test_a_part_that_is_none_is_refused(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["data", "prepare", "stdlib", "--part", part]) == 2
    assert "is not I/N" in capsys.readouterr().err


def test_export_writes_each_stage_under_its_usual_name(
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


# -- what is asked before a corpus is taken ----------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that cannot be reached."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", "hf-home")


def test_bookcorpus_is_not_taken_unasked(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["run", "hf:bookcorpus"]) == 2
    said = capsys.readouterr().err
    assert CORPORA["bookcorpus"].notice in said and "repeat it with --yes" in said
    assert not all_runs(workspace)


def test_bookcorpus_without_network_explains_itself(
    workspace: Workspace, offline: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["data", "prepare", "hf:bookcorpus", "--yes"]) == 1
    said = capsys.readouterr().err
    assert "cannot be reached" in said and "internet" in said and "stdlib" in said and "Traceback" not in said
    # agreed once, it is not asked again
    assert command_line(["data", "prepare", "hf:bookcorpus"]) == 1
    assert CORPORA["bookcorpus"].notice not in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 130), (b"y\n", 1)])
def test_on_a_terminal_the_notice_is_asked(workspace: Workspace, offline: None, answer: bytes, code: int) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*LLMTUI, "data", "prepare", "hf:bookcorpus"],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    os.write(ours, answer)
    _, error = process.communicate()
    os.close(ours)
    os.close(theirs)
    assert "Do you accept it?" in error.decode() and process.returncode == code
    assert (workspace.state / "agreed.json").exists() == (answer == b"y\n")


def test_a_known_corpus_brings_what_its_text_needs_and_a_person_has_the_last_word() -> None:
    books = load(base={"source": {"corpus": "hf:bookcorpus"}})
    assert "passages" in books.preprocess.steps and books.preprocess.split == "tail"
    own = load(base={"source": {"corpus": "hf:bookcorpus"}}, overrides=['preprocess.steps=["empty"]'])
    assert own.preprocess.steps == ("empty",) and own.preprocess.split == "tail"
