"""The download stage: files, folders and the standard library become documents; interruptions change nothing."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import download
from core.download import NoTextError, UnreadableError, text_chunks
from core.download.compression import FileStream
from core.download.stdlib_tables import is_table
from core.events import Event, Progress
from core.recipe.schema import Source
from core.sources.catalog import UnknownSourceError
from core.storage.artifact import Artifact
from core.storage.documents import DocumentPart, read_parts, write_parts
from tests.core.source_files import parts_of
from tests.core.stages import (
    Staging,
    close_after,
    downloading,
    file_digests,
    kill_while_writing,
    note_texts,
    run_stage,
    small_shards,
)


def texts_of(artifact: Artifact) -> dict[str, str]:
    texts: dict[str, str] = {}
    for part in parts_of(artifact):
        texts[part.name] = texts.get(part.name, "") + part.text
    return texts


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty files of 0 to 4 kB, so that small shards and parts break them up in every way."""
    return write(
        tmp_path / "many",
        {f"{n % 7}/{n:02d}.txt": "".join(f"line {k} of {n}\n" for k in range(n * 6)) for n in range(40)},
    )


def test_a_folder_gives_one_document_per_file_sorted_by_name(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {"b.txt": "two\n", "a/z.md": "one\n", "c": "three", ".hidden": "no", ".git/x": "no"})
    artifact = run_stage(tmp_path / "out", downloading(source))
    assert parts_of(artifact) == [
        DocumentPart("a/z.md", 0, "one\n"),
        DocumentPart("b.txt", 0, "two\n"),
        DocumentPart("c", 0, "three"),
    ]
    assert artifact.facts == {"documents": 3, "bytes": 13, "skipped": 0}


def test_a_single_file_is_one_document(tmp_path: Path) -> None:
    source = write(tmp_path, {"poem.txt": "Ünïcode\r\nkept as it is\n"}) / "poem.txt"
    assert texts_of(run_stage(tmp_path / "out", downloading(source))) == {"poem.txt": "Ünïcode\r\nkept as it is\n"}


@pytest.mark.heavy
def test_stdlib_is_the_python_library_without_its_tests(tmp_path: Path) -> None:
    artifact = run_stage(tmp_path / "out", downloading("stdlib"))
    texts = texts_of(artifact)
    assert texts["ast.py"] == (Path(sysconfig.get_path("stdlib")) / "ast.py").read_text("utf-8")
    assert all(name.endswith(".py") for name in texts)
    folders = {folder for name in texts for folder in name.split("/")[:-1]}
    assert not folders & {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
    assert 5e6 < int(artifact.facts["bytes"]) < 3e7
    tables = {"encodings/cp1250.py", "encodings/koi8_r.py", "encodings/aliases.py", "pydoc_data/topics.py"}
    assert not tables & texts.keys()
    assert {"encodings/punycode.py", "encodings/__init__.py", "mimetypes.py", "typing.py"} <= texts.keys()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("decoding_table = (\n" + "    '\\u20ac'   #  0x80 -> EURO SIGN\n" * 9 + ")\n", True),
        ("topics = {'assert': 'The \\n'\n" + "           'statement\\n'\n" * 9 + "}\n", True),
        ("rows = [\n" + "    (0x41, -1),\n" * 9 + "]\n", True),
        ('"""Says\n' + "what it does in many words.\n" * 9 + '"""\n' + "x = f('a', 1)\n" * 3, False),
        ("", False),
    ],
)
def test_is_table_distinguishes_data_tables_from_programs(source: str, expected: bool) -> None:
    assert is_table(source.encode()) == expected


def test_a_standard_library_in_a_zip_archive_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write(tmp_path, {"python311.zip": b"PK\x03\x04"}) / "python311.zip"
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(archive))
    with pytest.raises(NoTextError, match="zip archive"):
        download.source_fingerprint(Source(corpus="stdlib"))


@pytest.mark.parametrize("corpus", ["a\0b", "x" * 5000, "/dev/null/below"])
def test_an_invalid_path_raises(corpus: str) -> None:
    with pytest.raises((UnknownSourceError, UnreadableError)):
        download.source_fingerprint(Source(corpus=corpus))


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({".hidden": "text"}, "the folder is empty"),
        ({"a.png": b"\x89PNG\0\0", "b.bin": b"\0"}, "none of the 2 files in it is readable text"),
        ({"a.txt": "", "b.txt": ""}, "only empty files"),
        ({"a.txt": b"\0\1"}, "it is binary, not text"),
    ],
)
def test_a_folder_without_text_raises(tmp_path: Path, files: dict[str, str | bytes], sentence: str) -> None:
    source = tmp_path / "s"
    source.mkdir()
    with pytest.raises(NoTextError, match=sentence):
        run_stage(tmp_path / "out", downloading(write(source, files)))


@pytest.mark.parametrize(("content", "sentence"), [(b"\x7fELF\0", "it is binary"), (b"", "only empty files")])
def test_a_file_without_text_raises(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(NoTextError, match=sentence):
        run_stage(tmp_path / "out", downloading(write(tmp_path, {"f": content}) / "f"))


def test_a_link_to_itself_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UnreadableError, match="symbolic links"):
        download.source_fingerprint(Source(corpus=str(tmp_path / "loop")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    file = write(tmp_path, {"secret.txt": "text"}) / "secret.txt"
    file.chmod(0)
    with pytest.raises(UnreadableError, match="permission denied"):
        run_stage(tmp_path / "out", downloading(file))


def test_unusable_files_are_skipped_and_reported(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {"good.txt": "good\n", "picture.png": b"\x89PNG\0", "more.bin": b"\0"})
    (source / "loop").symlink_to("loop")
    (source / "nowhere").symlink_to("missing")
    os.mkfifo(source / "pipe")
    events: list[Event] = []
    artifact = run_stage(tmp_path / "out", downloading(source), events=events)
    assert artifact.facts == {"documents": 1, "bytes": 5, "skipped": 5}
    report = "\n".join(note_texts(events))
    assert "left out 2 files, binary: more.bin, picture.png" in report
    assert "not a regular file: pipe" in report
    assert "no such file or directory: nowhere" in report and "symbolic links: loop" in report


def test_links_to_a_parent_folder_are_not_followed_forever(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {"a/b/text": "once\n"})
    (source / "a" / "b" / "up").symlink_to(source)
    assert texts_of(run_stage(tmp_path / "out", downloading(source))) == {"a/b/text": "once\n"}


def test_a_file_deleted_during_the_download_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    source = write(tmp_path / "s", {"a.txt": "here\n", "b.txt": "gone\n"})
    with Staging(tmp_path / "out", "download", "0").open() as out:
        stage = download.download(Source(corpus=str(source)), out)
        first_events = [next(stage), next(stage)]
        assert [event.unit for event in first_events if isinstance(event, Progress)] == ["documents", "documents"]
        (source / "b.txt").unlink()
        assert any("b.txt could not be read" in note for note in note_texts(list(stage)))
    artifact = Artifact.open(tmp_path / "out")
    assert artifact.facts == {"documents": 1, "bytes": 5, "skipped": 1}


def test_bytes_that_are_not_utf8_are_replaced_and_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {"bom": b"\xef\xbb\xbfmarked", "torn": b"caf\xc3\xa9 \xff\xff", "honest": "\ufffd"})
    events: list[Event] = []
    artifact = run_stage(tmp_path / "out", downloading(source), events=events)
    assert texts_of(artifact) == {"bom": "marked", "honest": "\ufffd", "torn": "café \ufffd\ufffd"}
    assert any(note.startswith("2 places were not UTF-8") for note in note_texts(events))


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take only Unicode")
def test_a_file_name_that_is_not_unicode_is_readable(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / os.fsdecode(b"caf\xe9")).write_text("text")
    assert texts_of(run_stage(tmp_path / "out", downloading(tmp_path / "s"))) == {"caf\ufffd": "text"}


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200) | st.text(max_size=100).map(str.encode), size=st.integers(4, 50))
def test_chunks_of_any_bytes_join_to_their_text(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-bytes"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_chunks, "PART_BYTES", size)
        with FileStream(path, len(data)) as stream:
            chunks = list(text_chunks.read_text_chunks(stream))
    text = data.decode("utf-8", "replace")
    assert "".join(chunk.text for chunk in chunks) == text.removeprefix("\ufeff")
    assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].end == len(data)


def test_a_long_document_is_cut_at_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    text = "".join(f"{n:03d} {'x' * 90}\n" for n in range(100))
    artifact = run_stage(tmp_path / "out", downloading(write(tmp_path, {"long.txt": text}) / "long.txt"))
    parts = parts_of(artifact)
    assert [part.number for part in parts] == list(range(len(parts)))
    assert all(part.text.endswith("\n") and len(part.text) <= 1000 for part in parts)
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert "".join(part.text for part in parts) == text
    assert len(artifact.manifest.files) == 2, "two shards of 5,000 bytes"
    assert artifact.facts["documents"] == 1


def test_read_parts_starts_at_any_row(tmp_path: Path) -> None:
    parts = [DocumentPart(f"d{n}", k, f"{n}.{k}", last=k == n % 3) for n in range(20) for k in range(n % 3 + 1)]
    files = [tmp_path / "a", tmp_path / "b"]
    write_parts(files[0], parts[:25])
    write_parts(files[1], parts[25:])
    for start in range(len(parts) + 1):
        assert list(read_parts(files, start)) == parts[start:]


def test_progress_ends_at_the_total_size_of_the_files(folder: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    run_stage(tmp_path / "out", downloading(folder), events=events)
    last = [event for event in events if isinstance(event, Progress)][-1]
    assert (
        last.done == last.total == sum(file.stat().st_size for file in folder.rglob("*.txt")) and last.unit == "bytes"
    )


@pytest.mark.parametrize("seed", range(4))
def test_after_interruptions_at_any_point_the_documents_are_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    small_shards(monkeypatch)
    whole = file_digests(run_stage(tmp_path / "whole", downloading(folder)))
    assert len(whole) > 10
    after = 41 + seed
    while close_after(tmp_path / "broken", downloading(folder), after):
        after = after * 5 // 4
    artifact = Artifact.open(tmp_path / "broken", verify=True)
    assert file_digests(artifact) == whole
    assert artifact.facts == Artifact.open(tmp_path / "whole").facts


def test_complete_shards_are_not_written_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    assert close_after(tmp_path / "out", downloading(folder), 100)
    before = {file.name: file.stat().st_ino for file in (tmp_path / "out.partial").glob("documents-*")}
    artifact = run_stage(tmp_path / "out", downloading(folder))
    assert before and {name: (artifact.path / name).stat().st_ino for name in before} == before


def test_after_a_kill_while_writing_a_shard_the_documents_are_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    assert kill_while_writing(tmp_path / "killed", "download", folder, 4) == -9
    assert not (tmp_path / "killed").exists()
    assert file_digests(run_stage(tmp_path / "killed", downloading(folder))) == file_digests(
        run_stage(tmp_path / "whole", downloading(folder))
    )


def test_the_fingerprint_depends_on_names_sizes_and_times(tmp_path: Path) -> None:
    source = write(tmp_path / "s", {"a.txt": "one", "b.txt": "two"})
    fingerprints = [download.source_fingerprint(Source(corpus=str(source)))]
    assert download.source_fingerprint(Source(corpus=f"{source}/../s/")) == fingerprints[0]
    (source / "a.txt").write_text("three")
    fingerprints.append(download.source_fingerprint(Source(corpus=str(source))))
    os.utime(source / "b.txt", ns=(0, 0))
    fingerprints.append(download.source_fingerprint(Source(corpus=str(source))))
    (source / "a.txt").rename(source / "c.txt")
    fingerprints.append(download.source_fingerprint(Source(corpus=str(source))))
    assert len(set(fingerprints)) == 4


def test_the_fingerprint_of_stdlib_depends_on_the_python_version(monkeypatch: pytest.MonkeyPatch) -> None:
    here = download.source_fingerprint(Source(corpus="stdlib"))
    assert download.source_fingerprint(Source(corpus="stdlib")) == here
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    assert download.source_fingerprint(Source(corpus="stdlib")) != here
