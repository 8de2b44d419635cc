"""Every format a person keeps text in gives the same documents, and says what is wrong with some of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.download import NoTextError, TextColumnError, TooManyInvalidRecordsError, line_blocks
from core.download.formats import Format, format_of, name_for
from core.events import Event
from tests.core.source_files import (
    COMPRESSORS,
    FORMATS,
    as_json_lines,
    as_parquet,
    as_table,
    download_texts,
    parts_of,
    sample_documents,
    texts_of,
    write_file,
)
from tests.core.stages import (
    downloading,
    note_texts,
    run_stage,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", ("text", "")),
        ("A.JSONL.GZ", ("jsonl", "gz")),
        ("x.ndjson.zst", ("jsonl", "zst")),
        ("x.csv.xz", ("csv", "xz")),
        ("x.tsv", ("tsv", "")),
        ("x.parquet", ("parquet", "")),
        ("x.htm", ("html", "")),
        ("x.gz", ("text", "gz")),
        ("jsonl", ("text", "")),
        ("main.rs", ("text", "")),
    ],
)
def test_names_tell_the_format(name: str, expected: tuple[str, str]) -> None:
    assert format_of(name) == Format(*expected)  # type: ignore[arg-type]


def test_what_a_server_says_completes_a_name() -> None:
    assert name_for("data", "application/x-ndjson; charset=utf-8", "") == "data.jsonl"
    assert name_for("page", "text/html", "gzip") == "page.html.gz"
    assert name_for("a.csv", "text/plain", "") == "a.csv"
    assert name_for("a.txt.gz", "text/plain", "gzip") == "a.txt.gz"


@pytest.mark.parametrize("packed", COMPRESSORS)
@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_records_are_documents_named_by_their_line(tmp_path: Path, kind: str, packed: str) -> None:
    texts = sample_documents()
    path = write_file(tmp_path / f"a.{kind}{packed}", COMPRESSORS[packed](FORMATS[kind](texts)))
    artifact = run_stage(tmp_path / "out", downloading(path))
    assert texts_of(artifact) == texts
    names = [part.name for part in parts_of(artifact)]
    if kind == "jsonl":
        assert names == [f"{path.name}:{n}" for n in range(1, len(texts) + 1)]
    else:
        assert names[:3] == [f"{path.name}:{n}" for n in (2, 4, 7)], "a cell of several lines counts them"


def test_a_parquet_table_gives_its_rows(tmp_path: Path) -> None:
    texts = sample_documents()
    path = write_file(tmp_path / "a.parquet", as_parquet(texts))
    artifact = run_stage(tmp_path / "out", downloading(path))
    assert texts_of(artifact) == texts
    assert [part.name for part in parts_of(artifact)][-1] == f"a.parquet:{len(texts)}"


@pytest.mark.parametrize("kind", ["string_view", "large_string", "dictionary"])
def test_any_sort_of_arrow_text_is_read(tmp_path: Path, kind: str) -> None:
    texts = ["ein Text", "noch einer", "ein Text"]
    column = pa.array(texts)
    column = column.dictionary_encode() if kind == "dictionary" else column.cast(getattr(pa, kind)())
    title = pa.array(["a"] * 3).cast(column.type)
    pq.write_table(pa.table({"title": title, "text": pa.nulls(3, column.type), "body": column}), tmp_path / "a.parquet")
    events: list[Event] = []
    assert download_texts(tmp_path / "a.parquet", tmp_path / "out", events, column="body") == texts
    assert any("it begins: 'ein Text'" in note for note in note_texts(events))


@pytest.mark.parametrize("packed", COMPRESSORS)
def test_text_is_the_same_out_of_every_compression(tmp_path: Path, packed: str) -> None:
    text = "Ünïcode\r\n\0 in the middle\n" * 1000
    path = write_file(tmp_path / f"a.txt{packed}", COMPRESSORS[packed](("x" * 9000 + "\n" + text).encode()))
    assert download_texts(path, tmp_path / "out") == ["x" * 9000 + "\n" + text]


@pytest.mark.parametrize("packed", [".gz", ".zst", ".xz", ".bz2"])
def test_members_that_follow_each_other_are_one_text(tmp_path: Path, packed: str) -> None:
    pack = COMPRESSORS[packed]
    path = write_file(
        tmp_path / f"a.txt{packed}", pack(b"one\n") + pack(b"") + pack(b"two\n" * 70_000) + pack(b"three\n")
    )
    assert download_texts(path, tmp_path / "out") == ["one\n" + "two\n" * 70_000 + "three\n"]


def test_a_page_gives_its_text_without_its_markup(tmp_path: Path) -> None:
    page = "<html><head><title>T</title><script>no()</script></head><body><h1>Über</h1><p>eins<p>zwei&amp;</body>"
    write_file(tmp_path / "s" / "a.html", page)
    write_file(tmp_path / "s" / "b.htm", '<meta charset="iso-8859-1"><p>caf\xe9 au lait'.encode("latin-1"))
    write_file(tmp_path / "s" / "c.html", b"")
    texts = download_texts(tmp_path / "s", tmp_path / "out")
    assert [text.split() for text in texts] == [["Über", "eins", "zwei&"], ["café", "au", "lait"]]


def test_a_page_too_large_to_parse_is_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "s" / "a.html", b"<p>" + b"x" * (16 * 2**20))
    write_file(tmp_path / "s" / "b.html.gz", gzip.compress(b"<p>" + b"x" * (16 * 2**20)))
    write_file(tmp_path / "s" / "c.txt", "fine")
    events: list[Event] = []
    assert download_texts(tmp_path / "s", tmp_path / "out", events) == ["fine"]
    notes = "\n".join(note_texts(events))
    assert "HTML of more than 16 MiB: a.html" in notes and "b.html.gz could not be read" in notes


# Which column


def test_the_only_field_with_text_is_taken(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.jsonl", '{"n": 1, "story": "once"}\n{"n": 2, "story": "twice"}\n')
    assert download_texts(path, tmp_path / "out") == ["once", "twice"]


@pytest.mark.parametrize("column", ["text", "content"])
def test_a_column_of_the_usual_name_is_taken_and_told(tmp_path: Path, column: str) -> None:
    path = write_file(tmp_path / "a.csv", f"title,{column}\nA,body\n")
    events: list[Event] = []
    assert download_texts(path, tmp_path / "out", events) == ["body"]
    assert any(f"'{column}', beside 'title'" in note for note in note_texts(events))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"title,body\nA,B\n"),
        ("a.jsonl", b'{"title": "A", "body": "B"}\n'),
        ("a.parquet", None),
    ],
)
def test_several_columns_that_may_be_the_text_are_listed(tmp_path: Path, name: str, data: bytes | None) -> None:
    if data is None:
        pq.write_table(pa.table({"title": ["A"], "body": ["B"]}), tmp_path / name)
    else:
        write_file(tmp_path / name, data)
    with pytest.raises(TextColumnError, match="'title', 'body'") as caught:
        download_texts(tmp_path / name, tmp_path / "out")
    assert "--set source.column=NAME" in caught.value.todo and caught.value.exit_code == 2
    assert download_texts(tmp_path / name, tmp_path / "out", column="body") == ["B"]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_column_that_is_not_there_is_an_error_that_lists_what_there_is(tmp_path: Path, name: str) -> None:
    write_file(tmp_path / name, {"a.csv": b"id,body\n1,B\n", "a.jsonl": b'{"id": 1, "body": "B"}\n'}.get(name, b""))
    if name == "a.parquet":
        pq.write_table(pa.table({"id": [1], "body": ["B"]}), tmp_path / name)
    with pytest.raises(TextColumnError, match=r"there is no column 'story'; it has ('id', 'body'|'body', 'id')"):
        download_texts(tmp_path / name, tmp_path / "out", column="story")
    if name != "a.csv":
        with pytest.raises(TextColumnError, match="'id' holds no text"):
            download_texts(tmp_path / name, tmp_path / "out", column="id")


def test_a_file_without_the_column_is_left_out_where_others_have_it(tmp_path: Path) -> None:
    write_file(tmp_path / "s" / "a.jsonl", '{"text": "kept"}\n')
    write_file(tmp_path / "s" / "meta.csv", "name,size\na,1\n")
    events: list[Event] = []
    assert download_texts(tmp_path / "s", tmp_path / "out", events, column="text") == ["kept"]
    assert any("there is no column 'text'; it has 'name', 'size': meta.csv" in note for note in note_texts(events))


def test_tables_may_be_separated_by_semicolons_and_begin_with_a_mark(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.csv", "\ufeffid;text\r\n1;eins, zwei\r\n\r\n2;drei\r\n")
    assert download_texts(path, tmp_path / "out") == ["eins, zwei", "drei"]


def test_a_field_name_json_has_to_escape_is_found(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.jsonl", json.dumps({'a "text"': "found"}) + "\n")
    assert download_texts(path, tmp_path / "out") == ["found"]


# Broken records

BROKEN_JSON = (
    '{"text": "one"}\n'
    "not json\n"
    '{"other": 1}\n'
    '{"text": 5}\n'
    "\n"
    '"a bare string"\n'
    '{"text": null}\n'
    '{"text": ""}\n'
    '{"text": "NaN is Python\'s", "score": NaN}\n'
    '{"text": "lone \\ud800 surrogate"}\n'
    '["list"]\n'
    '{"text": "torn'
)


def test_broken_lines_are_counted_shown_and_passed_over(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.jsonl", BROKEN_JSON)
    events: list[Event] = []
    artifact = run_stage(tmp_path / "out", downloading(path), events=events)
    kept = {part.name: part.text for part in parts_of(artifact)}
    assert kept == {
        "a.jsonl:1": "one",
        "a.jsonl:6": "a bare string",
        "a.jsonl:9": "NaN is Python's",
        "a.jsonl:10": "lone \ufffd surrogate",
    }
    assert artifact.facts["broken"] == 4 and artifact.facts["empty"] == 3
    notes = note_texts(events)
    assert any(note.startswith("a.jsonl:2 is passed over: it is not JSON") for note in notes)
    assert "a.jsonl:4 is passed over: its 'text' is not text" in notes
    assert any(note.startswith("a.jsonl:12 is passed over") for note in notes)
    assert "11 records gave 4 documents; 3 without text, 4 that cannot be read" in notes


def test_more_broken_records_than_allowed_are_an_error_that_names_the_place(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.jsonl", BROKEN_JSON)
    with pytest.raises(TooManyInvalidRecordsError, match="more than 2 records") as caught:
        download_texts(path, tmp_path / "out", max_invalid_records=2)
    assert caught.value.where.startswith("a.jsonl:11: ") and "source.max_invalid_records" in caught.value.todo
    assert len(download_texts(path, tmp_path / "out", max_invalid_records=5)) == 4


def test_only_the_first_broken_records_are_shown_one_by_one(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.jsonl", "{\n" * 50 + '"fine"\n')
    events: list[Event] = []
    assert download_texts(path, tmp_path / "out", events) == ["fine"]
    notes = [note for note in note_texts(events) if "passed over" in note]
    assert len(notes) == 6 and notes[-1] == "50 records could not be read and were passed over"


def test_records_nested_without_end_and_numbers_without_end_are_broken(tmp_path: Path) -> None:
    hostile = '{"a": ' + "[" * 100_000 + "\n" + '{"text": NaN, "n": ' + "9" * 10_000 + "}\n"
    path = write_file(tmp_path / "a.jsonl", '"fine"\n' + hostile)
    artifact = run_stage(tmp_path / "out", downloading(path))
    assert texts_of(artifact) == ["fine"] and artifact.facts["broken"] == 2


def test_bytes_that_are_not_utf8_inside_a_record_are_replaced(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.jsonl", b'{"text": "caf\xe9"}\n{"text": "\xc3\xa9 \xc3\xa9 \xc3\xa9 \xc3\xa9"}\n')
    events: list[Event] = []
    assert download_texts(path, tmp_path / "out", events) == ["caf\ufffd", "é é é é"]
    assert any(note.startswith("1 place was not UTF-8") for note in note_texts(events))


def test_rows_with_a_wrong_number_of_cells_or_nul_bytes_are_broken(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.csv", 'id,text\n1,one\n2\n3,a,b\n4,n\0l\n5,"many\nlines"\n6,\n')
    events: list[Event] = []
    artifact = run_stage(tmp_path / "out", downloading(path), events=events)
    assert texts_of(artifact) == ["one", "many\nlines"]
    assert artifact.facts["broken"] == 3 and artifact.facts["empty"] == 1
    notes = note_texts(events)
    assert "a.csv:3 is passed over: it has 1 cell instead of 2" in notes
    assert "a.csv:4 is passed over: it has 3 cells instead of 2" in notes
    assert "a.csv:5 is passed over: it has a NUL byte in it" in notes


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_record_too_long_to_hold_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", 100)
    monkeypatch.setattr(line_blocks, "RECORD_BYTES", 1000)
    texts = ["before", "x" * 5000, "y" * 500, "after"]
    data = as_json_lines(texts) if kind == "jsonl" else as_table(texts)
    artifact = run_stage(tmp_path / "out", downloading(write_file(tmp_path / f"a.{kind}", data)))
    assert texts_of(artifact) == ["before", "y" * 500, "after"]
    assert artifact.facts["broken"] == 1


@pytest.mark.parametrize("record_bytes", [200, 2**20])
def test_a_quote_that_is_never_closed_swallows_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_bytes: int
) -> None:
    monkeypatch.setattr(line_blocks, "RECORD_BYTES", record_bytes)
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", 50)
    rows = "".join(f"{n},row {n}\n" for n in range(100))
    path = write_file(tmp_path / "a.csv", 'id,text\n0,"never closed\n' + rows)
    events: list[Event] = []
    assert download_texts(path, tmp_path / "out", events) == ['"never closed', *(f"row {n}" for n in range(100))]
    assert "101 records gave 101 documents" in note_texts(events)
    assert any(note.startswith("1 row has a quotation mark that is not closed") for note in note_texts(events))


def test_nothing_but_broken_records_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoTextError, match="not one document"):
        download_texts(write_file(tmp_path / "a.jsonl", "{\n{\n"), tmp_path / "out")
