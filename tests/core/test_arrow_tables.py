"""A column of an Arrow table becomes the same documents wherever its reading is interrupted."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.download import batches, text_chunks
from core.download.arrow_tables import column_to_batches
from core.download.batches import DocumentBatch, FilePosition


def converted(column: pa.Array, position: FilePosition) -> list[DocumentBatch]:
    rest = column.slice(position.offset)
    end = FilePosition(offset=len(column))
    return list(column_to_batches("f", rest, [], position, end, 0.0, keep_empty=True))


@pytest.mark.heavy
@settings(max_examples=150, deadline=None)
@given(rows=st.lists(st.none() | st.text(max_size=60), max_size=30), size=st.integers(4, 60), data=st.data())
def test_a_column_gives_the_same_documents_after_an_interruption(
    rows: list[str | None], size: int, data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "BATCH_BYTES", size * 2)
        patch.setattr(text_chunks, "PART_BYTES", size)
        column = pa.array(rows, pa.string())
        steps = converted(column, FilePosition())
        texts: dict[str, str] = {}
        for step in steps:
            for name, _, part in zip(*(values.to_pylist() for values in step.batch.columns), strict=True):
                assert len(part.encode()) <= size
                texts[name] = texts.get(name, "") + part
        assert texts == {f"f:{1 + n}": row for n, row in enumerate(rows) if row is not None}
        done = data.draw(st.integers(0, len(steps) - 1))
        again = converted(column, steps[done - 1].position if done else FilePosition())
        assert [step.batch.to_pylist() for step in again] == [step.batch.to_pylist() for step in steps[done:]]


def test_empty_texts_are_no_documents_unless_they_are_kept() -> None:
    column = pa.array(["one", "", None, "two"])
    [kept] = converted(column, FilePosition())
    [step] = column_to_batches("f", column, [], FilePosition(), FilePosition(offset=4), 0.0)
    assert kept.batch.column("name").to_pylist() == ["f:1", "f:2", "f:4"]
    assert step.batch.column("name").to_pylist() == ["f:1", "f:4"] and step.empty == 2
