"""Small data sets for the stand-in of the hub, and their download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.download import download
from core.download.hub import HubError
from core.events import Event
from core.recipe.schema import Source
from core.storage.artifact import Artifact
from tests.core.stages import run_stage

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz012345"


def parquet(path: Path, texts: Sequence[str | None], group: int = 50, **more: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": pa.array(texts, pa.string()), **more}), path, row_group_size=group)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def lines(file: int, rows: int = 200) -> list[str]:
    """SourceBatch of 0 to 100 characters, no two alike."""
    return [f"file {file} row {row} " + "x" * (row * 37 % 90) for row in range(rows)]


def three_files(folder: Path) -> Path:
    for file in range(3):
        parquet(folder / "data" / f"train-{file:05d}-of-00003.parquet", lines(file))
    return folder


def fetch(path: Path, corpus: str, *, events: list[Event] | None = None, **source: Any) -> Artifact:
    return run_stage(path, lambda out: download(Source(corpus=corpus, **source), out), events=events)


def download_error(path: Path, corpus: str, **source: Any) -> str:
    """The message of the HubError that the download raises."""
    with pytest.raises(HubError) as caught:
        fetch(path, corpus, **source)
    return caught.value.sentence()
