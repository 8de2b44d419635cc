"""Truncated files, documents of every length, and serialisable progress."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from core.download import TruncatedFileError
from core.events import Event, Progress, decode, encode
from tests.core.sample_records import lines_of
from tests.core.source_files import FORMATS, download_texts, sample_documents, write_file
from tests.core.stages import downloading, run_stage, small_shards


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.txt.gz"])
def test_a_file_truncated_while_it_is_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    small_shards(monkeypatch)
    choose = random.Random(2)
    texts = ["".join(choose.choices("abcdefghij ", k=4000)) for _ in range(300)]
    rows = {"jsonl": lines_of([{"text": text} for text in texts]), "csv": "text,n\n" + ",1\n".join(texts) + ",1\n"}
    data = rows.get(name.rpartition(".")[2], "\n".join(texts)).encode()
    path = write_file(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)
    whole, events = path.stat().st_size, 0

    def shortening(out: Any) -> Any:
        nonlocal events
        for event in downloading(path)(out):
            events += 1
            if events == 20:
                with path.open("r+b") as file:
                    file.truncate(whole // 2)
            yield event

    with pytest.raises(
        TruncatedFileError, match=f"became shorter while it was read: {whole // 2:,} of {whole:,} bytes"
    ):
        run_stage(tmp_path / "out", shortening)
    assert not (tmp_path / "out").exists()


def test_documents_of_every_length_come_out_of_json_as_they_went_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    texts = [*sample_documents(), "x" * 5000, 'a "quoted" \\ text']
    path = write_file(tmp_path / "a.json", json.dumps([{"text": text} for text in texts], indent=3))
    assert download_texts(path, tmp_path / "out") == texts


@pytest.mark.parametrize("kind", FORMATS)
def test_every_progress_event_can_be_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    small_shards(monkeypatch)
    events: list[Event] = []
    download_texts(write_file(tmp_path / f"a.{kind}", FORMATS[kind](sample_documents())), tmp_path / "out", events)
    progress = [event for event in events if isinstance(event, Progress)]
    assert len(progress) > 3 and all(type(event.done) is float for event in progress)
    assert [decode(encode(event)) for event in events] == events
