"""Data prepared in parts on two hosts by ssh and as an array of Slurm, both on loopback: `make cluster`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.cluster.test_targets import workspace
from tests.core.stages import file_digests

__all__ = ["workspace"]
pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]


def prepared(corpus: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[Artifact, str]:
    """The tokens, and what was written meanwhile."""
    assert command_line(["data", "prepare", str(corpus), "--set", "tokenize.size=300", *options]) == 0
    captured = capsys.readouterr()
    return Artifact.open(Path(captured.out.strip()), verify=True), captured.err


@pytest.mark.parametrize("target", ["ssh:one,two", "slurm:tests"])
def test_parts_of_a_target_are_merged_to_what_one_process_makes(
    workspace: Workspace,
    target: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corpus = tmp_path / "a corpus"
    corpus.mkdir()
    for n in range(20):
        (corpus / f"{n:02d}.txt").write_text("".join(f"line {k} of document {n}\n" for k in range(20)))
    merged, text = prepared(corpus, capsys, "--on", target, "--parts", "2")
    assert "2 of 2" in text and "took over 2 of 2 shards" in text
    queue = subprocess.run(["squeue", "--noheader"], capture_output=True, text=True, check=True)
    assert not queue.stdout
    monkeypatch.setenv("LLMTUI_HOME", str(tmp_path / "another"))
    whole, _ = prepared(corpus, capsys)
    assert file_digests(merged) == file_digests(whole)


def test_what_a_part_on_slurm_says_is_the_error(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace.config / "targets" / "mine.toml").write_text('extends = "slurm"\npython = "/nowhere/python"\n')
    (tmp_path / "corpus.txt").write_text("a few words of a text\n" * 200)
    command = ["data", "prepare", str(tmp_path / "corpus.txt"), "--set", "tokenize.size=300", "--parts", "1", "--on"]
    assert command_line([*command, "mine"]) == 1
    error = capsys.readouterr().err
    assert "part 0 of 1 is not complete" in error and "/nowhere/python" in error
