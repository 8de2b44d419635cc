"""Every format of the README through the command line: looked at, and prepared for training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.core.source_files import COMPRESSORS, FORMATS, write_file

TEXTS = [f"text {n} with some words in it, and a line\nbehind it" for n in range(200)]
WHOLE = {"txt": "a text ü\n" * 500, "html": "<p>a page</p>" * 500, "py": "print('source')\n" * 500}
ONLY_PLAIN = ("parquet", "arrow")
"""Formats that have compression of their own."""


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_of_any_format_with_records_is_looked_at(
    tmp_path: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = write_file(tmp_path / f"a.{kind}", FORMATS[kind](TEXTS))
    assert command_line(["data", "preview", str(path), "--documents", "1"]) == 0
    said = capsys.readouterr()
    assert "the text in 'text'" in said.err and "'text 0 with some words" in said.err
    assert "200 records gave 200 documents" in said.err
    assert any(line.split()[:2] == ["read", "200"] for line in said.out.splitlines())


def test_a_folder_with_every_format_in_every_compression_is_prepared(
    tmp_path: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    for packed, pack in COMPRESSORS.items():
        for kind, made in FORMATS.items():
            if not packed or kind not in ONLY_PLAIN:
                write_file(
                    tmp_path / "s" / f"a.{kind}{packed}", pack(made([f"{kind}{packed} {text}" for text in TEXTS]))
                )
        for kind, text in WHOLE.items():
            write_file(tmp_path / "s" / f"a.{kind}{packed}", pack(f"{packed} {text}".encode()))
    expected = 200 * (len(FORMATS) * len(COMPRESSORS) - len(ONLY_PLAIN) * (len(COMPRESSORS) - 1)) + len(WHOLE) * len(
        COMPRESSORS
    )
    asked = ["--set", "tokenize.vocabulary=bytes"]
    assert command_line(["data", "prepare", str(tmp_path / "s"), *asked]) == 0
    assert Path(capsys.readouterr().out.strip()).is_dir()
    [documents] = (path for path in (workspace.artifacts / "documents").iterdir() if path.is_dir())
    facts = Artifact.open(documents).facts
    assert (facts["documents"], facts["skipped"]) == (expected, 0)


def test_a_saved_data_set_is_looked_at_as_its_data(
    tmp_path: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(tmp_path / "s" / "data-00000-of-00001.arrow", FORMATS["arrow"](TEXTS))
    write_file(tmp_path / "s" / "state.json", json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    write_file(tmp_path / "s" / "dataset_info.json", json.dumps({"description": "words " * 50}))
    assert command_line(["data", "preview", str(tmp_path / "s"), "--documents", "0", "--json"]) == 0
    [report] = map(json.loads, capsys.readouterr().out.splitlines())
    assert report["before"]["documents"] == 200
