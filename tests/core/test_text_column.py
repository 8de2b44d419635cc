"""The text column is selected by name or length, reported, and reached inside nested records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.download.text_column import InvalidRecordError, text_in
from core.events import Event
from tests.core.sample_records import TEXTS, lines_of
from tests.core.source_files import as_zstd, download_texts, write_file
from tests.core.stages import note_texts


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_column_without_a_name_is_not_selected_when_no_column_is_named(tmp_path: Path, kind: str) -> None:
    names = [str(n) for n in range(60)]
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"": names, "text": TEXTS}), path)
    elif kind == "jsonl":
        write_file(path, lines_of([{"": name, "text": text} for name, text in zip(names, TEXTS, strict=True)]))
    else:
        mark = {"csv": ",", "tsv": "\t"}[kind]
        rows = (mark.join(row) for row in zip(names, TEXTS, ["0"] * 60, strict=True))
        write_file(path, "\n".join([mark.join(["", "text", "label"]), *rows]) + "\n")
    assert download_texts(path, tmp_path / "out") == TEXTS


@pytest.mark.heavy
@pytest.mark.parametrize("lacking", ["null", "absent", "empty"])
@pytest.mark.parametrize("kind", ["jsonl", "jsonl.zst", "json", "csv", "parquet"])
def test_a_text_that_begins_late_is_found(tmp_path: Path, kind: str, lacking: str) -> None:
    by_name: dict[str, dict[str, Any]] = {"null": {"text": None}, "absent": {}, "empty": {"text": ""}}
    missing = by_name[lacking]
    if lacking == "absent" and kind in ("csv", "parquet"):
        pytest.skip("a table has all its columns")
    rows = [
        {"title": f"title {n} " + "x" * 900} | (missing if n < 3000 else {"text": f"body {n}"}) for n in range(3300)
    ]
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows, pa.schema({"title": pa.string(), "text": pa.string()})), path)
    elif kind == "csv":
        write_file(path, "title,text\n" + "".join(f"{row['title']},{row['text'] or ''}\n" for row in rows))
    elif kind == "json":
        write_file(path, json.dumps(rows))
    else:
        write_file(path, as_zstd(lines_of(rows).encode()) if kind.endswith("zst") else lines_of(rows))
    events: list[Event] = []
    assert download_texts(path, tmp_path / "out", events) == [f"body {n}" for n in range(3000, 3300)]
    assert "3,300 records gave 300 documents; 3,000 without text" in note_texts(events)


def test_the_column_and_the_beginning_of_its_text_are_always_reported(tmp_path: Path) -> None:
    path = write_file(
        tmp_path / "a.jsonl", json.dumps({"story": "Once\nupon  a time " + "there was a text " * 9, "n": 1})
    )
    events: list[Event] = []
    download_texts(path, tmp_path / "out", events)
    first = "Once upon a time there was a text there was a text there was…"
    expected_note = f"1 file with the text in 'story': a.jsonl; it begins: {first!r}"
    assert expected_note in note_texts(events)
    events = []
    download_texts(path, tmp_path / "again", events, column="story")
    assert expected_note in note_texts(events)


def test_the_column_with_by_far_the_most_text_is_taken(tmp_path: Path) -> None:
    rows = "".join(f'"{text}",{("good", "bad")[n % 2]}\n' for n, text in enumerate(TEXTS))
    assert download_texts(write_file(tmp_path / "a.csv", "review,sentiment\n" + rows), tmp_path / "out") == TEXTS


def test_a_column_that_hardly_any_record_has_is_found_when_it_is_named(tmp_path: Path) -> None:
    rows = [{"title": f"{n} " + "x" * 500} for n in range(6000)]
    rows[2501]["rare"] = "here"
    assert download_texts(write_file(tmp_path / "a.jsonl", lines_of(rows)), tmp_path / "out", column="rare") == ["here"]


def test_a_table_that_may_be_read_in_two_ways_does_not_stop_a_folder_of_texts(tmp_path: Path) -> None:
    write_file(tmp_path / "s" / "a.txt", "one")
    write_file(tmp_path / "s" / "b.csv", "first,second\nA,B\n")
    write_file(tmp_path / "s" / "c.txt", "two")
    events: list[Event] = []
    assert download_texts(tmp_path / "s", tmp_path / "out", events) == ["one", "two"]
    [left] = [note for note in note_texts(events) if note.startswith("left out")]
    assert "'first', 'second'" in left and "source.column=NAME" in left and left.endswith(": b.csv")


@pytest.mark.parametrize(
    ("record", "column", "expected"),
    [
        ({"data": {"text": "a text"}}, "", "a text"),
        ({"data": {"text": "a text"}}, "data.text", "a text"),
        ({"meta": {"lang": "en"}, "doc": {"body": "a text"}}, "doc.body", "a text"),
        ({"data.text": "a text"}, "data.text", "a text"),
        ({"lines": ["one", "two"]}, "", "one\ntwo"),
        ({"lines": ["one", "two"]}, "lines.1", "two"),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "bot", "content": "ho"}]}, "", "hi\nho"),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "bot", "content": "ho"}]}, "messages", "hi\nho"),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "bot"}]}, "messages.content", "hi"),
        ({"messages": [{"role": "u", "content": [{"type": "text", "text": "hi"}]}]}, "messages", "hi"),
        ({"conversations": [{"from": "human", "value": "hi"}]}, "conversations.value", "hi"),
        ({"turns": [["a", "b"], ["c"]]}, "turns", "a\nb\nc"),
    ],
)
def test_text_inside_a_record_is_reached_by_a_path(tmp_path: Path, record: Any, column: str, expected: str) -> None:
    path = write_file(tmp_path / "a.jsonl", lines_of([record, {"id": 1}]))
    assert download_texts(path, tmp_path / "out", column=column) == [expected]
    pq.write_table(pa.Table.from_pylist([record, dict.fromkeys(record)]), tmp_path / "a.parquet")
    assert download_texts(tmp_path / "a.parquet", tmp_path / "table", column=column) == [expected]


def test_a_path_that_ends_in_no_text_makes_a_record_invalid() -> None:
    for value, path in (({"a": 5}, ["a"]), ({"a": {"b": 1}}, ["a"]), ([1], [])):
        with pytest.raises(InvalidRecordError):
            text_in(value, path)
    assert text_in({"a": None}, ["a", "b"]) is text_in({}, ["a"]) is text_in({"a": []}, ["a", "0"]) is None
