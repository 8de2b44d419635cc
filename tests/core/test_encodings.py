"""Text in any encoding, compressed or not, comes out whole, wherever it is cut."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.download import compression, encoding, reading
from core.download.compression import Stream
from core.events import Event
from tests.core.made import (
    PACK,
    as_table,
    put,
    read,
)
from tests.core.stages import (
    notes,
)

FRENCH = "L'été dernier, nous étions à la plage. Les élèves français ont reçu leur goûter : «ça suffit».\n" * 30
RUSSIAN = "Однажды весною, в час небывало жаркого заката, в Москве появились два гражданина.\n" * 30
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n" * 30


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        (FRENCH, "cp1252", "cp1252"),
        (FRENCH, "utf-16", "utf-16-le"),
        (FRENCH, "utf-32", "utf-32-le"),
        (FRENCH, "utf-16-le", "utf-16-le"),
        (FRENCH, "utf-16-be", "utf-16-be"),
        (RUSSIAN, "cp1251", "cp1251"),
        (RUSSIAN, "koi8-r", "koi8_r"),
        (JAPANESE, "shift_jis", "cp932"),
        (JAPANESE, "euc_jp", "euc_jp"),
        ("今天天气很好，我们去公园散步吧。\n" * 30, "gb18030", "gb18030"),
        ("나는 유리를 먹을 수 있어요. 그래도 아프지 않아요.\n" * 30, "euc_kr", "cp949"),
    ],
)
def test_other_encodings_are_found_and_told(tmp_path: Path, text: str, name: str, told: str) -> None:
    events: list[Event] = []
    assert read(put(tmp_path / "a.txt", text.encode(name)), tmp_path / "out", events) == [text]
    assert f"1 file read as {told}: a.txt" in notes(events)


def test_files_of_one_encoding_are_told_together(tmp_path: Path) -> None:
    for n in range(7):
        put(tmp_path / "s" / f"{n}.txt", FRENCH.encode("cp1252"))
    events: list[Event] = []
    read(tmp_path / "s", tmp_path / "out", events)
    assert "7 files read as cp1252: 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 2 more" in notes(events)


def test_utf8_with_a_few_wrong_bytes_stays_utf8(tmp_path: Path) -> None:
    data = FRENCH.encode() + b"\xff\n"
    events: list[Event] = []
    assert read(put(tmp_path / "a.txt", data), tmp_path / "out", events) == [FRENCH + "\ufffd\n"]
    assert any(note.startswith("1 place was not UTF-8") for note in notes(events))


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize("name", ["utf-16", "cp1252"])
def test_records_in_other_encodings_are_read(tmp_path: Path, kind: str, name: str) -> None:
    texts = [FRENCH, "ça va", "où"]
    if kind == "jsonl":
        data = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    else:
        data = as_table(texts).decode()
    path = put(tmp_path / f"a.{kind}.gz", gzip.compress(data.encode(name)))
    assert read(path, tmp_path / "out") == texts


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(st.characters(codec="utf-8"), max_size=80),
    noise=st.binary(max_size=60),
    name=st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "cp1252", "cp932", "gb18030", "euc_jp"]),
    size=st.integers(8, 50),
    packed=st.sampled_from(list(PACK)),
    clean=st.booleans(),
)
def test_parts_of_any_text_in_any_encoding_join_to_it(
    tmp_path_factory: pytest.TempPathFactory, text: str, noise: bytes, name: str, size: int, packed: str, clean: bool
) -> None:
    data = text.encode(name, "replace") if clean else text.encode(name, "ignore") + noise
    path = put(tmp_path_factory.getbasetemp() / "any", PACK[packed](data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PART_BYTES", size)
        with Stream(path, path.stat().st_size, packed.removeprefix(".")) as stream:  # type: ignore[arg-type]
            pieces = list(reading.read_pieces(stream, name))
        middle = pieces[len(pieces) // 2]
        with Stream(path, path.stat().st_size, packed.removeprefix(".")) as stream:  # type: ignore[arg-type]
            again = [] if middle.last else list(reading.read_pieces(stream, name, middle.end, middle.state))
    expected = data.decode(name, "replace")
    assert "".join(piece.text for piece in pieces) == expected.removeprefix("\ufeff")
    assert again == pieces[len(pieces) // 2 + 1 :]
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]


@settings(max_examples=200, deadline=None)
@given(
    data=st.binary(max_size=3000), packed=st.sampled_from(list(PACK)), cuts=st.lists(st.integers(1, 400), min_size=1)
)
def test_a_stream_gives_its_bytes_however_it_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, packed: str, cuts: list[int]
) -> None:
    path = put(tmp_path_factory.getbasetemp() / "stream", PACK[packed](data))
    with Stream(path, path.stat().st_size, packed.removeprefix(".")) as stream:  # type: ignore[arg-type]
        skipped = min(cuts[0], len(data))
        stream.skip(skipped)
        found = b""
        for length in cuts[1:]:
            assert stream.at_end() == (skipped + len(found) == len(data))
            piece = stream.read(length)
            assert len(piece) == min(length, len(data) - skipped - len(found))
            found += piece
        found += stream.read(5000)
        assert found == data[skipped:] and stream.at_end() and not stream.damage
        assert stream.consumed == path.stat().st_size


def test_the_codecs_are_those_that_names_can_ask_for() -> None:
    assert set(compression._DECODERS) | {"zst"} == {packed.removeprefix(".") for packed in PACK if packed}
    assert all(encoding.decode(b"a", name, final=True).text == "a" for name in encoding._LIKELY)
