"""Which records a file holds, and which of their columns is the text: found, told, and never by accident."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from core.download import NoTextError, TextColumnError, TruncatedFileError, UnreadableError, json_layout, sniff
from core.download.json_layout import RecordLines
from core.download.text_column import InvalidRecordError, text_in
from core.events import Event, Progress, decode, encode
from tests.core.made import FORMATS, as_zstd, documents, put, read
from tests.core.stages import downloading, make, notes, small_shards

WORDS = "the of and to in a is that it was for on are as with his they at be this from have or by one had".split()


def prose(count: int, words: int = 30) -> list[str]:
    """Texts of some length, no two alike."""
    choose = random.Random(1)
    return [f"{n} " + " ".join(choose.choices(WORDS, k=words)) for n in range(count)]


TEXTS = prose(60)
ROWS: list[dict[str, Any]] = [{"id": n, "text": text} for n, text in enumerate(TEXTS)]


def lines_of(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


# JSON by what it is


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
        ("behind_each_other.json", "".join(map(json.dumps, ROWS))),
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
def test_json_is_read_as_what_it_is(tmp_path: Path, name: str, content: str, packed: str) -> None:
    data = content.encode()
    path = put(tmp_path / f"{name}{packed}", gzip.compress(data) if packed else data)
    events: list[Event] = []
    assert read(path, tmp_path / "out", events) == TEXTS
    assert "60 records gave 60 documents" in notes(events)


def test_wide_json_is_read_too(tmp_path: Path) -> None:
    for name, content in (("a.json", json.dumps(ROWS, indent=1)), ("b.jsonl", lines_of(ROWS))):
        path = put(tmp_path / name, content.encode("utf-16"))
        assert read(path, tmp_path / f"{name}.out") == TEXTS


def test_a_file_that_is_one_object_is_one_document(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", json.dumps({"title": "A", "text": "Once.", "entities": [{"name": "B"}]}, indent=2))
    assert read(path, tmp_path / "out") == ["Once."]


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
    put(tmp_path / "s" / "a.json", content)
    with pytest.raises((TextColumnError, UnreadableError)):
        read(tmp_path / "s" / "a.json", tmp_path / "alone")
    put(tmp_path / "s" / "a.txt", "text")
    events: list[Event] = []
    assert read(tmp_path / "s", tmp_path / "out", events) == ["text"]
    assert any(note.startswith("left out 1 file") and note.endswith(": a.json") for note in notes(events))


def test_an_array_that_is_cut_off_gives_its_whole_records_and_is_told(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", json.dumps(ROWS)[:-200])
    events: list[Event] = []
    found = read(path, tmp_path / "out", events)
    assert found == TEXTS[: len(found)] and len(found) > 55
    assert "a.json could not be read to its end: it is cut off" in notes(events)


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
def test_records_are_the_same_wherever_the_text_is_cut(value: Any, inside: Any, step: int) -> None:
    expected = value["data"]["rows"] if "data" in value else list(value.values()) if isinstance(value, dict) else value
    for indent in (None, 2):
        stream = RecordLines(Dripping(json.dumps(value, indent=indent).encode(), step), inside)
        found = stream.read(10**6).split(b"\n")
        assert [json.loads(line) for line in found if line.strip()] == expected and not stream.damage


def test_a_long_array_is_read_a_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_layout, "HEAD_BYTES", 500)
    path = put(tmp_path / "a.json", json.dumps([{"id": 1, "text": "x" * 2000}, *ROWS], indent=1))
    assert read(path, tmp_path / "out") == ["x" * 2000, *TEXTS]


@pytest.mark.parametrize("titles", [["title"] * 60, list(range(60))])
def test_a_column_far_behind_the_beginning_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, titles: list[Any]
) -> None:
    monkeypatch.setattr(json_layout, "HEAD_BYTES", 100)
    columns = {"title": dict(enumerate(titles)), "text": dict(enumerate(TEXTS))}
    path = put(tmp_path / "a.json", json.dumps(columns))
    assert read(path, tmp_path / "out") == TEXTS
    monkeypatch.setattr(sniff, "RECORD_BYTES", 400)
    with pytest.raises((UnreadableError, NoTextError, TextColumnError)):
        read(path, tmp_path / "large")


# Which column


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_column_without_a_name_is_not_taken_for_one_that_was_not_named(tmp_path: Path, kind: str) -> None:
    names = [str(n) for n in range(60)]
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"": names, "text": TEXTS}), path)
    elif kind == "jsonl":
        put(path, lines_of([{"": name, "text": text} for name, text in zip(names, TEXTS, strict=True)]))
    else:
        mark = {"csv": ",", "tsv": "\t"}[kind]
        rows = (mark.join(row) for row in zip(names, TEXTS, ["0"] * 60, strict=True))
        put(path, "\n".join([mark.join(["", "text", "label"]), *rows]) + "\n")
    assert read(path, tmp_path / "out") == TEXTS


@pytest.mark.parametrize("lacking", ["null", "absent", "empty"])
@pytest.mark.parametrize("kind", ["jsonl", "jsonl.zst", "json", "csv", "parquet"])
def test_a_text_that_begins_late_is_found(tmp_path: Path, kind: str, lacking: str) -> None:
    missing: dict[str, Any] = {"null": {"text": None}, "absent": {}, "empty": {"text": ""}}[lacking]
    if lacking == "absent" and kind in ("csv", "parquet"):
        pytest.skip("a table has all its columns")
    rows = [
        {"title": f"title {n} " + "x" * 900} | (missing if n < 3000 else {"text": f"body {n}"}) for n in range(3300)
    ]
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows, pa.schema({"title": pa.string(), "text": pa.string()})), path)
    elif kind == "csv":
        put(path, "title,text\n" + "".join(f"{row['title']},{row['text'] or ''}\n" for row in rows))
    elif kind == "json":
        put(path, json.dumps(rows))
    else:
        put(path, as_zstd(lines_of(rows).encode()) if kind.endswith("zst") else lines_of(rows))
    events: list[Event] = []
    assert read(path, tmp_path / "out", events) == [f"body {n}" for n in range(3000, 3300)]
    assert "3,300 records gave 300 documents; 3,000 without text" in notes(events)


def test_the_column_and_the_beginning_of_its_text_are_always_told(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", json.dumps({"story": "Once\nupon  a time " + "there was a text " * 9, "n": 1}))
    events: list[Event] = []
    read(path, tmp_path / "out", events)
    first = "Once upon a time there was a text there was a text there was…"
    told = f"1 file with the text in 'story': a.jsonl; it begins: {first!r}"
    assert told in notes(events)
    events = []
    read(path, tmp_path / "again", events, column="story")
    assert told in notes(events)


def test_the_column_with_by_far_the_most_text_is_taken(tmp_path: Path) -> None:
    rows = "".join(f'"{text}",{("good", "bad")[n % 2]}\n' for n, text in enumerate(TEXTS))
    assert read(put(tmp_path / "a.csv", "review,sentiment\n" + rows), tmp_path / "out") == TEXTS


def test_a_column_that_hardly_any_record_has_is_found_when_it_is_named(tmp_path: Path) -> None:
    rows = [{"title": f"{n} " + "x" * 500} for n in range(6000)]
    rows[2501]["rare"] = "here"
    assert read(put(tmp_path / "a.jsonl", lines_of(rows)), tmp_path / "out", column="rare") == ["here"]


def test_a_table_that_may_be_read_in_two_ways_does_not_stop_a_folder_of_texts(tmp_path: Path) -> None:
    put(tmp_path / "s" / "a.txt", "one")
    put(tmp_path / "s" / "b.csv", "first,second\nA,B\n")
    put(tmp_path / "s" / "c.txt", "two")
    events: list[Event] = []
    assert read(tmp_path / "s", tmp_path / "out", events) == ["one", "two"]
    [left] = [note for note in notes(events) if note.startswith("left out")]
    assert "'first', 'second'" in left and "source.column=NAME" in left and left.endswith(": b.csv")


# Nested text


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
    path = put(tmp_path / "a.jsonl", lines_of([record, {"id": 1}]))
    assert read(path, tmp_path / "out", column=column) == [expected]
    pq.write_table(pa.Table.from_pylist([record, dict.fromkeys(record)]), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", tmp_path / "table", column=column) == [expected]


def test_what_is_no_text_at_the_end_of_a_path_is_broken() -> None:
    for value, path in (({"a": 5}, ["a"]), ({"a": {"b": 1}}, ["a"]), ([1], [])):
        with pytest.raises(InvalidRecordError):
            text_in(value, path)
    assert text_in({"a": None}, ["a", "b"]) is text_in({}, ["a"]) is text_in({"a": []}, ["a", "0"]) is None


# Tables as text


def test_a_tsv_knows_no_quoting(tmp_path: Path) -> None:
    texts = [f'"{text}' if n % 10 == 3 else f'"{text}"' if n % 10 == 7 else text for n, text in enumerate(TEXTS)]
    path = put(tmp_path / "a.tsv", "id\ttext\n" + "".join(f"{n}\t{text}\n" for n, text in enumerate(texts)))
    events: list[Event] = []
    assert read(path, tmp_path / "out", events) == texts
    assert "60 records gave 60 documents" in notes(events)


def test_a_tsv_that_a_writer_of_csv_quoted_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = "".join(f'{n}\t"a ""word""\nand {text}"\n' for n, text in enumerate(TEXTS))
    expected = [f'a "word"\nand {text}' for text in TEXTS]
    assert read(put(tmp_path / "a.tsv", "id\ttext\n" + rows), tmp_path / "out") == expected


@pytest.mark.parametrize("columns", ["id,text", "id,lang,text"])
@pytest.mark.parametrize("quoted", [True, False])
def test_a_quotation_mark_without_its_pair_swallows_no_row(tmp_path: Path, columns: str, quoted: bool) -> None:
    def row(n: int, text: str) -> str:
        cell = f'"{text}' if n % 7 == 3 else f'"{text}"' if quoted else text
        return ",".join([str(n), *["en"] * (columns.count(",") - 1), cell]) + "\n"

    path = put(tmp_path / "a.csv", f"{columns}\n" + "".join(row(n, text) for n, text in enumerate(TEXTS)))
    events: list[Event] = []
    found = read(path, tmp_path / "out", events)
    assert [text.removeprefix('"') for text in found] == TEXTS
    assert any(note.startswith("9 rows have a quotation mark that is not closed") for note in notes(events))


def test_quotation_marks_inside_a_quoted_cell_do_not_end_it(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", 'id,text\n1,"he said "hi, you" and left"\n2,"and ""so"", on"\n')
    assert read(path, tmp_path / "out") == ['he said "hi, you" and left', 'and "so", on']
    path = put(tmp_path / "b.csv", 'id,text\n1,"he said \\"hi, you\\" and left"\n')
    assert read(path, tmp_path / "escaped") == ['he said "hi, you" and left']


def test_lines_inside_cells_are_compared_with_the_rows(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", 'id,text\r\n1,"one\r\n\r\ntwo, three"\r\n2,\r\n')
    events: list[Event] = []
    assert read(path, tmp_path / "out", events) == ["one\r\n\r\ntwo, three"]
    assert "2 records gave 1 document; 2 line breaks stand inside quoted cells; 1 without text" in notes(events)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize("first", ["1", "pos"])
def test_a_table_without_names_loses_no_row_and_says_so(tmp_path: Path, kind: str, first: str) -> None:
    mark = {"csv": ",", "tsv": "\t"}[kind]
    label = {"1": lambda n: str(n + 1), "pos": lambda n: ("pos", "neg")[n % 2]}[first]
    path = put(tmp_path / f"a.{kind}", "".join(f"{label(n)}{mark}{text}\n" for n, text in enumerate(TEXTS)))
    events: list[Event] = []
    assert read(path, tmp_path / "out", events) == TEXTS
    assert any("without names of columns in the first row" in note for note in notes(events))
    assert any("'column 2', beside 'column 1'" in note for note in notes(events))
    assert read(path, tmp_path / "said", header=True) == TEXTS[1:]


def test_the_recipe_says_whether_there_are_names(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "word,text\none,a text\n")
    assert read(path, tmp_path / "out") == ["a text"]
    assert read(path, tmp_path / "none", header=False, column="column 2") == ["text", "a text"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("\n\n,,\nid,text,label\n1,a text,x\n", ["a text"]),
        ("sep=;\nid;text\n1;a text, and\n", ["a text, and"]),
        ("text,text,id\na text,other,1\n", ["a text"]),
        ("text\na text, with, commas\n", ["a text, with, commas"]),
        ("text\tlabel\n1\ta text\tx\n2\tmore\ty\n", ["a text", "more"]),  # R leaves out the name of its row names
        (",0\n0,a text\n1,more of it\n", ["a text", "more of it"]),  # pandas' Series
        ('"a, b";"text"\n1;"c, d"\n', ["c, d"]),
        ("id,text,\n1,a text,\n2,more,,\n", ["a text", "more"]),
        ("id,text\n1,12\n2,34\n", ["12", "34"]),
    ],
)
def test_the_beginning_of_a_table_is_understood(tmp_path: Path, content: str, expected: list[str]) -> None:
    assert read(put(tmp_path / "a.csv", content), tmp_path / "out") == expected


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_cells_longer_than_what_is_looked_at_do_not_confuse_the_beginning(tmp_path: Path, kind: str) -> None:
    mark = {"csv": ",", "tsv": "\t"}[kind]
    long = "".join(f'a, ""b"" and\tsome{mark}more words\n' for _ in range(5000))
    rows = f'1{mark}"{long}"\n2{mark}"{"x" * 300_000}"\n3{mark}"a ""text"""\n'
    found = read(put(tmp_path / f"a.{kind}", f"id{mark}text\n{rows}"), tmp_path / "out")
    assert found == [long.replace('""', '"'), "x" * 300_000, 'a "text"']


def test_a_table_with_names_and_no_rows_has_no_text(tmp_path: Path) -> None:
    with pytest.raises(NoTextError, match="not one document"):
        read(put(tmp_path / "a.csv", "id,text\n"), tmp_path / "out")


# Arrow


@pytest.mark.parametrize("kind", ["binary", "large_binary", "binary_view"])
def test_strings_that_are_only_called_bytes_are_text_and_pictures_are_not(tmp_path: Path, kind: str) -> None:
    texts = pa.array([text.encode() for text in TEXTS], getattr(pa, kind)())
    table = pa.table({"image": pa.array([b"\x89PNG\0\xff"] * 60), "body": texts})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", tmp_path / "out") == TEXTS


@pytest.mark.parametrize("compression", ["uncompressed", "zstd"])
def test_arrow_files_are_read(tmp_path: Path, compression: str) -> None:
    feather.write_feather(pa.table({"text": TEXTS}), tmp_path / "a.feather", compression=compression)
    assert read(tmp_path / "a.feather", tmp_path / "out") == TEXTS


def save_to_disk(folder: Path, texts: list[str]) -> None:
    """What `datasets.Dataset.save_to_disk` writes."""
    folder.mkdir(parents=True)
    schema = pa.schema({"title": pa.string(), "text": pa.string()})
    with pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for text in texts:
            writer.write_batch(pa.record_batch([["T"], [text]], schema=schema))
    put(folder / "state.json", json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": None}))
    put(folder / "dataset_info.json", json.dumps({"description": "a long description " * 20, "citation": "text"}))
    put(folder / "cache-0a1b.arrow", (folder / "data-00000-of-00001.arrow").read_bytes())


def test_a_saved_data_set_is_read_as_its_data(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "s", TEXTS)
    events: list[Event] = []
    assert read(tmp_path / "s", tmp_path / "out", events) == TEXTS
    assert any("'text', beside 'title'" in note for note in notes(events))
    (tmp_path / "s" / "state.json").unlink()
    (tmp_path / "s" / "cache-0a1b.arrow").unlink()
    assert read(tmp_path / "s", tmp_path / "cache") == TEXTS, "as in the cache of `datasets`, without a state"


@pytest.mark.parametrize("damage", [b"[" * 10_000, b'{"_data_files": 5, "splits": 5}', b'{"a": "\xb2"}', b"5"])
def test_a_saved_data_set_is_read_though_what_lies_beside_it_is_damaged(tmp_path: Path, damage: bytes) -> None:
    save_to_disk(tmp_path / "s", TEXTS)
    (tmp_path / "s" / "cache-0a1b.arrow").unlink()
    for name in ("state.json", "dataset_dict.json", "dataset_info.json"):
        (tmp_path / "s" / name).write_bytes(damage)
    assert read(tmp_path / "s", tmp_path / "out") == TEXTS


def test_of_a_saved_data_set_with_splits_one_is_read(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "s" / "train", TEXTS[:50])
    save_to_disk(tmp_path / "s" / "test", TEXTS[50:])
    put(tmp_path / "s" / "dataset_dict.json", json.dumps({"splits": ["train", "test"]}))
    events: list[Event] = []
    assert read(tmp_path / "s", tmp_path / "out", events) == TEXTS[:50]
    assert any("source.split chooses" in note for note in notes(events))
    assert read(tmp_path / "s", tmp_path / "test", split="test") == TEXTS[50:]
    assert read(tmp_path / "s" / "test", tmp_path / "alone") == TEXTS[50:]


def test_an_arrow_file_that_is_cut_off_gives_what_is_whole(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "s", TEXTS)
    file = tmp_path / "s" / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[: -file.stat().st_size // 3])
    events: list[Event] = []
    found = read(file, tmp_path / "out", events)
    assert found == TEXTS[: len(found)] and 30 < len(found) < 60
    assert any("could not be read to its end" in note for note in notes(events))
    with pytest.raises(UnreadableError, match="no Arrow file"):
        read(put(tmp_path / "b.arrow", "no such thing"), tmp_path / "none")


# Cut short


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.txt.gz"])
def test_a_file_that_becomes_shorter_while_it_is_read_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    small_shards(monkeypatch)
    choose = random.Random(2)
    texts = ["".join(choose.choices("abcdefghij ", k=4000)) for _ in range(300)]
    rows = {"jsonl": lines_of([{"text": text} for text in texts]), "csv": "text,n\n" + ",1\n".join(texts) + ",1\n"}
    data = rows.get(name.rpartition(".")[2], "\n".join(texts)).encode()
    path = put(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data)
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
        make(tmp_path / "out", shortening)
    assert not (tmp_path / "out").exists()


def test_documents_of_every_length_come_out_of_json_as_they_went_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    texts = [*documents(), "x" * 5000, 'a "quoted" \\ text']
    path = put(tmp_path / "a.json", json.dumps([{"text": text} for text in texts], indent=3))
    assert read(path, tmp_path / "out") == texts


@pytest.mark.parametrize("kind", FORMATS)
def test_every_word_about_progress_can_be_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    small_shards(monkeypatch)
    events: list[Event] = []
    read(put(tmp_path / f"a.{kind}", FORMATS[kind](documents())), tmp_path / "out", events)
    told = [event for event in events if isinstance(event, Progress)]
    assert len(told) > 3 and all(type(event.done) is float for event in told)
    assert [decode(encode(event)) for event in events] == events
