"""`llmtui data preview` and `prepare` with every file format in the README."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.core.source_files import COMPRESSORS, FORMATS, write_file

pytestmark = pytest.mark.heavy

TEXTS = [f"text {n} with some words in it, and a line\nbehind it" for n in range(200)]
PLAIN_TEXT = {"txt": "a text ü\n" * 500, "html": "<p>a page</p>" * 500, "py": "print('source')\n" * 500}
INTERNALLY_COMPRESSED = ("parquet", "arrow")
"""Formats with their own compression, which are read uncompressed only."""


@pytest.mark.parametrize("kind", FORMATS)
def test_preview_reads_a_file_of_any_record_format(
    tmp_path: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = write_file(tmp_path / f"a.{kind}", FORMATS[kind](TEXTS))
    assert command_line(["data", "preview", str(path), "--documents", "1"]) == 0
    captured = capsys.readouterr()
    assert "the text in 'text'" in captured.err and "'text 0 with some words" in captured.err
    assert "200 records gave 200 documents" in captured.err
    assert any(line.split()[:2] == ["read", "200"] for line in captured.out.splitlines())


def test_prepare_reads_a_folder_with_every_format_in_every_compression(
    tmp_path: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    for packed, pack in COMPRESSORS.items():
        for kind, made in FORMATS.items():
            if not packed or kind not in INTERNALLY_COMPRESSED:
                write_file(
                    tmp_path / "s" / f"a.{kind}{packed}", pack(made([f"{kind}{packed} {text}" for text in TEXTS]))
                )
        for kind, text in PLAIN_TEXT.items():
            write_file(tmp_path / "s" / f"a.{kind}{packed}", pack(f"{packed} {text}".encode()))
    expected = 200 * (len(FORMATS) * len(COMPRESSORS) - len(INTERNALLY_COMPRESSED) * (len(COMPRESSORS) - 1)) + len(
        PLAIN_TEXT
    ) * len(COMPRESSORS)
    assert command_line(["data", "prepare", str(tmp_path / "s"), "--set", "tokenize.vocabulary=bytes"]) == 0
    assert Path(capsys.readouterr().out.strip()).is_dir()
    [documents] = (path for path in (workspace.artifacts / "documents").iterdir() if path.is_dir())
    facts = Artifact.open(documents).facts
    assert (facts["documents"], facts["skipped"]) == (expected, 0)


def test_preview_reads_only_the_data_files_of_a_saved_dataset(
    tmp_path: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(tmp_path / "s" / "data-00000-of-00001.arrow", FORMATS["arrow"](TEXTS))
    write_file(tmp_path / "s" / "state.json", json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    write_file(tmp_path / "s" / "dataset_info.json", json.dumps({"description": "words " * 50}))
    assert command_line(["data", "preview", str(tmp_path / "s"), "--documents", "0", "--json"]) == 0
    [report] = map(json.loads, capsys.readouterr().out.splitlines())
    assert report["before"]["documents"] == 200
