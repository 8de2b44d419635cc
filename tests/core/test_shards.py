"""Token shards: the layout on the disk, and reading several as one stream."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.tokenize.shards import ShardError, TokenStream, dtype_for, write_shard


def shard(path: Path, ids: list[int], dtype: str = "uint16") -> Path:
    write_shard(path, [np.array(ids, dtype)])
    return path


def test_the_file_layout_is_the_documented_one(tmp_path: Path) -> None:
    data = shard(tmp_path / "a", [1, 258, 65535]).read_bytes()
    assert data[:24] == b"llmtui\0t" + struct.pack("<IIQ", 1, 2, 3)
    assert data[24:256] == bytes(232)
    assert data[256:] == b"\x01\x00\x02\x01\xff\xff"


def test_ids_of_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    assert [dtype_for(size).name for size in (257, 65_536, 65_537)] == ["uint16", "uint16", "uint32"]
    path = shard(tmp_path / "a", [70_000], "uint32")
    assert path.stat().st_size == 260 and TokenStream([path]).window(0, 1).tolist() == [70_000]


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(0, 6), min_size=1, max_size=6), data=st.data())
def test_a_window_may_span_several_shards(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    home = tmp_path_factory.mktemp("shards")
    ids = list(range(100, 100 + sum(sizes)))
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    files = [
        shard(home / str(index), ids[start : start + size])
        for index, (start, size) in enumerate(zip(starts, sizes, strict=True))
    ]
    stream = TokenStream(files)
    assert len(stream) == len(ids)
    start = data.draw(st.integers(0, len(ids)))
    length = data.draw(st.integers(0, len(ids) - start))
    window = stream.window(start, length)
    assert window.dtype == np.int64 and window.tolist() == ids[start : start + length]


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (0, 6), (5, 1), (3, -1)])
def test_a_window_outside_the_stream_is_an_index_error(tmp_path: Path, start: int, length: int) -> None:
    stream = TokenStream([shard(tmp_path / "a", [1, 2, 3, 4, 5])])
    with pytest.raises(IndexError):
        stream.window(start, length)


def test_a_stream_without_shards_is_empty() -> None:
    assert len(TokenStream([])) == 0


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda data: data[:-1], "261 bytes where its header promises 262"),
        (lambda data: data + b"\0", "263 bytes where its header promises 262"),
        (lambda data: data[:100], "not a token shard"),
        (lambda data: b"", "not a token shard"),
        (lambda data: b"PAR1" + data[4:], "not a token shard"),
        (lambda data: data[:8] + struct.pack("<I", 2) + data[12:], "layout is unknown"),
        (lambda data: data[:12] + struct.pack("<I", 3) + data[16:], "layout is unknown"),
        (lambda data: data[:16] + struct.pack("<Q", 2**63) + data[24:], "header promises"),
    ],
)
def test_the_error_names_a_damaged_shard(tmp_path: Path, damage, sentence: str) -> None:  # type: ignore[no-untyped-def]
    path = shard(tmp_path / "train-00000.tokens", [1, 2, 3])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ShardError, match=sentence) as error:
        TokenStream([path])
    assert error.value.where == str(path)


def test_the_error_names_a_missing_shard(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="no such file"):
        TokenStream([tmp_path / "train-00000.tokens"])
