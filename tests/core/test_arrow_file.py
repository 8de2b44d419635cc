"""Arrow files and the folders of `Dataset.save_to_disk`."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from core.download import UnreadableError
from core.events import Event
from tests.core.sample_records import TEXTS
from tests.core.source_files import download_texts, write_file
from tests.core.stages import note_texts


@pytest.mark.parametrize("kind", ["binary", "large_binary", "binary_view"])
def test_binary_columns_with_text_are_text_and_images_are_not(tmp_path: Path, kind: str) -> None:
    texts = pa.array([text.encode() for text in TEXTS], getattr(pa, kind)())
    table = pa.table({"image": pa.array([b"\x89PNG\0\xff"] * 60), "body": texts})
    pq.write_table(table, tmp_path / "a.parquet")
    assert download_texts(tmp_path / "a.parquet", tmp_path / "out") == TEXTS


@pytest.mark.parametrize("compression", ["uncompressed", "zstd"])
def test_arrow_files_are_read(tmp_path: Path, compression: str) -> None:
    feather.write_feather(pa.table({"text": TEXTS}), tmp_path / "a.feather", compression=compression)
    assert download_texts(tmp_path / "a.feather", tmp_path / "out") == TEXTS


def save_to_disk(folder: Path, texts: list[str]) -> None:
    """What `datasets.Dataset.save_to_disk` writes."""
    folder.mkdir(parents=True)
    schema = pa.schema({"title": pa.string(), "text": pa.string()})
    with pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for text in texts:
            writer.write_batch(pa.record_batch([["T"], [text]], schema=schema))
    write_file(
        folder / "state.json", json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": None})
    )
    write_file(
        folder / "dataset_info.json", json.dumps({"description": "a long description " * 20, "citation": "text"})
    )
    write_file(folder / "cache-0a1b.arrow", (folder / "data-00000-of-00001.arrow").read_bytes())


def test_a_saved_data_set_is_read_as_its_data(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "s", TEXTS)
    events: list[Event] = []
    assert download_texts(tmp_path / "s", tmp_path / "out", events) == TEXTS
    assert any("'text', beside 'title'" in note for note in note_texts(events))
    (tmp_path / "s" / "state.json").unlink()
    (tmp_path / "s" / "cache-0a1b.arrow").unlink()
    assert download_texts(tmp_path / "s", tmp_path / "cache") == TEXTS, "as in the cache of `datasets`, without a state"


@pytest.mark.parametrize("damage", [b"[" * 10_000, b'{"_data_files": 5, "splits": 5}', b'{"a": "\xb2"}', b"5"])
def test_a_saved_data_set_with_damaged_metadata_is_read(tmp_path: Path, damage: bytes) -> None:
    save_to_disk(tmp_path / "s", TEXTS)
    (tmp_path / "s" / "cache-0a1b.arrow").unlink()
    for name in ("state.json", "dataset_dict.json", "dataset_info.json"):
        (tmp_path / "s" / name).write_bytes(damage)
    assert download_texts(tmp_path / "s", tmp_path / "out") == TEXTS


def test_of_a_saved_data_set_with_splits_one_is_read(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "s" / "train", TEXTS[:50])
    save_to_disk(tmp_path / "s" / "test", TEXTS[50:])
    write_file(tmp_path / "s" / "dataset_dict.json", json.dumps({"splits": ["train", "test"]}))
    events: list[Event] = []
    assert download_texts(tmp_path / "s", tmp_path / "out", events) == TEXTS[:50]
    assert any("source.split chooses" in note for note in note_texts(events))
    assert download_texts(tmp_path / "s", tmp_path / "test", split="test") == TEXTS[50:]
    assert download_texts(tmp_path / "s" / "test", tmp_path / "alone") == TEXTS[50:]


def test_a_truncated_arrow_file_gives_its_whole_batches(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "s", TEXTS)
    file = tmp_path / "s" / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[: -file.stat().st_size // 3])
    events: list[Event] = []
    downloaded = download_texts(file, tmp_path / "out", events)
    assert downloaded == TEXTS[: len(downloaded)] and 30 < len(downloaded) < 60
    assert any("could not be read to its end" in note for note in note_texts(events))
    with pytest.raises(UnreadableError, match="no Arrow file"):
        download_texts(write_file(tmp_path / "b.arrow", "no such thing"), tmp_path / "none")
