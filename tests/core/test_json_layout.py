"""The records of a JSON file are found in every layout."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from core.download import NoTextError, TextColumnError, UnreadableError, json_layout, sniff
from core.download.json_layout import RecordLines
from core.events import Event
from tests.core.sample_records import ROWS, TEXTS, lines_of
from tests.core.source_files import download_texts, write_file
from tests.core.stages import note_texts


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lines.json", lines_of(ROWS)),
        ("array.json", json.dumps(ROWS)),
        ("array.jsonl", json.dumps(ROWS)),
        ("array.ndjson", json.dumps(ROWS, indent=1)),
        ("pretty.json", json.dumps(ROWS, indent=2)),
        ("texts.json", json.dumps(TEXTS)),
        ("inside.json", json.dumps({"version": "1", "data": ROWS})),
        ("deep.json", json.dumps({"response": {"count": 60, "docs": ROWS}}, indent=1)),
        ("two.json", json.dumps({"train": ROWS[:50], "test": ROWS[50:]})),
        ("concatenated.json", "".join(map(json.dumps, ROWS))),
        ("pretty.jsonl", "\n".join(json.dumps(row, indent=2) for row in ROWS)),
        ("pandas_columns.json", json.dumps({"id": {str(n): n for n in range(60)}, "text": dict(enumerate(TEXTS))})),
        ("pandas_index.json", json.dumps({f"row {n}": row for n, row in enumerate(ROWS)})),
        ("pandas_split.json", json.dumps({"columns": ["text", "n"], "data": [[text, 1] for text in TEXTS]})),
        ("lists.json", json.dumps({"title": ["a"] * 60, "text": TEXTS})),
        ("marked.json", "\ufeff" + json.dumps(ROWS, indent=1)),
        ("nan.jsonl", "".join(f'{{"score": NaN, "text": {json.dumps(text)}}}\n' for text in TEXTS)),
        ("nan.json", json.dumps([row | {"score": float("nan")} for row in ROWS])),
        ("titled.json", "[" + ", ".join(json.dumps(row | {"title": '[a] {b} \\ "'}) for row in ROWS) + "]"),
    ],
)
def test_json_is_read_by_its_layout(tmp_path: Path, name: str, content: str, packed: str) -> None:
    data = content.encode()
    path = write_file(tmp_path / f"{name}{packed}", gzip.compress(data) if packed else data)
    events: list[Event] = []
    assert download_texts(path, tmp_path / "out", events) == TEXTS
    assert "60 records gave 60 documents" in note_texts(events)


def test_wide_json_is_read_too(tmp_path: Path) -> None:
    for name, content in (("a.json", json.dumps(ROWS, indent=1)), ("b.jsonl", lines_of(ROWS))):
        path = write_file(tmp_path / name, content.encode("utf-16"))
        assert download_texts(path, tmp_path / f"{name}.out") == TEXTS


def test_a_file_that_is_one_object_is_one_document(tmp_path: Path) -> None:
    path = write_file(
        tmp_path / "a.json", json.dumps({"title": "A", "text": "Once.", "entities": [{"name": "B"}]}, indent=2)
    )
    assert download_texts(path, tmp_path / "out") == ["Once."]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"name": "pkg", "version": "1.0", "dependencies": {"a": "^1"}, "files": ["a.js", "b.js"]}, indent=2),
        json.dumps({"name": "pkg"}),
        "// no JSON at all\n{a: 1}\n",
        "just words\n",
    ],
)
def test_json_without_records_of_text_is_no_document(tmp_path: Path, content: str) -> None:
    write_file(tmp_path / "s" / "a.json", content)
    with pytest.raises((TextColumnError, UnreadableError)):
        download_texts(tmp_path / "s" / "a.json", tmp_path / "alone")
    write_file(tmp_path / "s" / "a.txt", "text")
    events: list[Event] = []
    assert download_texts(tmp_path / "s", tmp_path / "out", events) == ["text"]
    assert any(note.startswith("left out 1 file") and note.endswith(": a.json") for note in note_texts(events))


def test_a_truncated_array_gives_its_whole_records_and_is_reported(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.json", json.dumps(ROWS)[:-200])
    events: list[Event] = []
    texts = download_texts(path, tmp_path / "out", events)
    assert texts == TEXTS[: len(texts)] and len(texts) > 55
    assert "a.json could not be read to its end: it is cut off" in note_texts(events)


class Dripping:
    """A stream that gives a few bytes at a time."""

    damage = ""
    consumed = 0

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = data, step

    def read(self, length: int) -> bytes:
        piece, self._data = self._data[: self._step], self._data[self._step :]
        return piece

    def at_end(self) -> bool:
        return not self._data

    def skip(self, length: int) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("step", [1, 2, 3, 7, 50])
@pytest.mark.parametrize(
    ("value", "inside"),
    [
        ([{"a": 'q"\\"]},', "b": [1, {"c": None}]}, "s,]", 5, [], {}], frozenset({()})),
        ({"k": [0], "data": {"rows": [{"x": "]}"}, [1, 2]]}, "z": 1}, frozenset({("data", "rows")})),
        ({"a, b": {"t": "x"}, "c": {"t": "y\\"}}, frozenset({()})),
    ],
)
def test_records_do_not_depend_on_how_the_text_is_read(value: Any, inside: Any, step: int) -> None:
    expected = value["data"]["rows"] if "data" in value else list(value.values()) if isinstance(value, dict) else value
    for indent in (None, 2):
        stream = RecordLines(Dripping(json.dumps(value, indent=indent).encode(), step), inside)
        texts = stream.read(10**6).split(b"\n")
        assert [json.loads(line) for line in texts if line.strip()] == expected and not stream.damage


def test_a_long_array_is_read_a_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_layout, "HEAD_BYTES", 500)
    path = write_file(tmp_path / "a.json", json.dumps([{"id": 1, "text": "x" * 2000}, *ROWS], indent=1))
    assert download_texts(path, tmp_path / "out") == ["x" * 2000, *TEXTS]


@pytest.mark.parametrize("titles", [["title"] * 60, list(range(60))])
def test_a_column_far_after_the_beginning_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, titles: list[Any]
) -> None:
    monkeypatch.setattr(json_layout, "HEAD_BYTES", 100)
    columns = {"title": dict(enumerate(titles)), "text": dict(enumerate(TEXTS))}
    path = write_file(tmp_path / "a.json", json.dumps(columns))
    assert download_texts(path, tmp_path / "out") == TEXTS
    monkeypatch.setattr(sniff, "RECORD_BYTES", 400)
    with pytest.raises((UnreadableError, NoTextError, TextColumnError)):
        download_texts(path, tmp_path / "large")
