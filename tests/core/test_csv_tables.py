"""Rows, quoting and headers of CSV and TSV tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.download import NoTextError
from core.events import Event
from tests.core.sample_records import TEXTS
from tests.core.source_files import download_texts, write_file
from tests.core.stages import note_texts


def test_a_tsv_has_no_quoting(tmp_path: Path) -> None:
    texts = [f'"{text}' if n % 10 == 3 else f'"{text}"' if n % 10 == 7 else text for n, text in enumerate(TEXTS)]
    path = write_file(tmp_path / "a.tsv", "id\ttext\n" + "".join(f"{n}\t{text}\n" for n, text in enumerate(texts)))
    events: list[Event] = []
    assert download_texts(path, tmp_path / "out", events) == texts
    assert "60 records gave 60 documents" in note_texts(events)


def test_a_tsv_that_a_writer_of_csv_quoted_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = "".join(f'{n}\t"a ""word""\nand {text}"\n' for n, text in enumerate(TEXTS))
    expected = [f'a "word"\nand {text}' for text in TEXTS]
    assert download_texts(write_file(tmp_path / "a.tsv", "id\ttext\n" + rows), tmp_path / "out") == expected


@pytest.mark.parametrize("columns", ["id,text", "id,lang,text"])
@pytest.mark.parametrize("quoted", [True, False])
def test_an_unbalanced_quotation_mark_swallows_no_row(tmp_path: Path, columns: str, quoted: bool) -> None:
    def row(n: int, text: str) -> str:
        cell = f'"{text}' if n % 7 == 3 else f'"{text}"' if quoted else text
        return ",".join([str(n), *["en"] * (columns.count(",") - 1), cell]) + "\n"

    path = write_file(tmp_path / "a.csv", f"{columns}\n" + "".join(row(n, text) for n, text in enumerate(TEXTS)))
    events: list[Event] = []
    downloaded = download_texts(path, tmp_path / "out", events)
    assert [text.removeprefix('"') for text in downloaded] == TEXTS
    assert any(note.startswith("9 rows have a quotation mark that is not closed") for note in note_texts(events))


def test_quotation_marks_inside_a_quoted_cell_do_not_end_it(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.csv", 'id,text\n1,"he said "hi, you" and left"\n2,"and ""so"", on"\n')
    assert download_texts(path, tmp_path / "out") == ['he said "hi, you" and left', 'and "so", on']
    path = write_file(tmp_path / "b.csv", 'id,text\n1,"he said \\"hi, you\\" and left"\n')
    assert download_texts(path, tmp_path / "escaped") == ['he said "hi, you" and left']


def test_lines_inside_cells_are_compared_with_the_rows(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.csv", 'id,text\r\n1,"one\r\n\r\ntwo, three"\r\n2,\r\n')
    events: list[Event] = []
    assert download_texts(path, tmp_path / "out", events) == ["one\r\n\r\ntwo, three"]
    assert "2 records gave 1 document; 2 line breaks stand inside quoted cells; 1 without text" in note_texts(events)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize("first", ["1", "pos"])
def test_a_table_without_a_header_loses_no_row_and_is_reported(tmp_path: Path, kind: str, first: str) -> None:
    mark = {"csv": ",", "tsv": "\t"}[kind]
    label = {"1": lambda n: str(n + 1), "pos": lambda n: ("pos", "neg")[n % 2]}[first]
    path = write_file(tmp_path / f"a.{kind}", "".join(f"{label(n)}{mark}{text}\n" for n, text in enumerate(TEXTS)))
    events: list[Event] = []
    assert download_texts(path, tmp_path / "out", events) == TEXTS
    assert any("without names of columns in the first row" in note for note in note_texts(events))
    assert any("'column 2', beside 'column 1'" in note for note in note_texts(events))
    assert download_texts(path, tmp_path / "said", header=True) == TEXTS[1:]


def test_the_recipe_says_whether_there_is_a_header(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.csv", "word,text\none,a text\n")
    assert download_texts(path, tmp_path / "out") == ["a text"]
    assert download_texts(path, tmp_path / "none", header=False, column="column 2") == ["text", "a text"]


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
def test_the_header_of_a_table_is_inferred(tmp_path: Path, content: str, expected: list[str]) -> None:
    assert download_texts(write_file(tmp_path / "a.csv", content), tmp_path / "out") == expected


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_cells_longer_than_the_sample_do_not_confuse_the_header(tmp_path: Path, kind: str) -> None:
    mark = {"csv": ",", "tsv": "\t"}[kind]
    long = "".join(f'a, ""b"" and\tsome{mark}more words\n' for _ in range(5000))
    rows = f'1{mark}"{long}"\n2{mark}"{"x" * 300_000}"\n3{mark}"a ""text"""\n'
    downloaded = download_texts(write_file(tmp_path / f"a.{kind}", f"id{mark}text\n{rows}"), tmp_path / "out")
    assert downloaded == [long.replace('""', '"'), "x" * 300_000, 'a "text"']


def test_a_table_with_names_and_no_rows_has_no_text(tmp_path: Path) -> None:
    with pytest.raises(NoTextError, match="not one document"):
        download_texts(write_file(tmp_path / "a.csv", "id,text\n"), tmp_path / "out")
