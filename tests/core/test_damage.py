"""Downloads of damaged files, resumption, full disks, and memory."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core import download
from core.download import UnreadableError
from core.events import Event
from core.storage.artifact import Artifact
from tests.core.source_files import (
    COMPRESSORS,
    FORMATS,
    as_json,
    as_json_lines,
    as_parquet,
    as_table,
    download_texts,
    sample_documents,
    write_file,
)
from tests.core.stages import (
    ROOT,
    close_after,
    downloading,
    file_digests,
    kill_while_writing,
    note_texts,
    run_stage,
    small_shards,
)
from tests.run_code import run_code

# Damage


@pytest.mark.heavy
@pytest.mark.parametrize("packed", [".gz", ".zst", ".xz", ".bz2"])
@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_the_readable_part_of_a_truncated_file_is_kept(tmp_path: Path, kind: str, packed: str) -> None:
    import random

    words = random.Random(1)
    texts = ["".join(words.choices("abcdefghij \n", k=3000)) for _ in range(400)]
    whole = as_json_lines(texts) if kind == "jsonl" else "".join(texts).encode()
    data = COMPRESSORS[packed](whole)
    path = write_file(tmp_path / f"a.{kind}{packed}", data[: len(data) * 3 // 4])
    events: list[Event] = []
    downloaded = download_texts(path, tmp_path / "out", events)
    assert downloaded == texts[: len(downloaded)] if kind == "jsonl" else "".join(texts).startswith(downloaded[0])
    assert sum(map(len, downloaded)) > 0.25 * sum(map(len, texts))
    assert f"{path.name} could not be read to its end: it is cut off" in note_texts(events)
    assert not any("passed over" in note for note in note_texts(events)), "the torn record is part of the damage"


@pytest.mark.parametrize("packed", [".gz", ".zst", ".xz", ".bz2"])
@pytest.mark.parametrize("what", ["cut", "other"])
def test_a_file_damaged_at_its_beginning_is_unreadable(tmp_path: Path, packed: str, what: str) -> None:
    data = COMPRESSORS[packed](b"text " * 1000)[:6] if what == "cut" else b"this was never compressed"
    with pytest.raises(UnreadableError, match="cut off" if what == "cut" else "damaged"):
        download_texts(write_file(tmp_path / f"a.txt{packed}", data), tmp_path / "out")


@pytest.mark.heavy
@pytest.mark.parametrize("packed", [".gz", ".xz", ".bz2"])  # Arrow writes zstd without checksums
def test_a_flipped_bit_ends_the_text_and_is_reported(tmp_path: Path, packed: str) -> None:
    data = bytearray(COMPRESSORS[packed](b"".join(b"%d and so on\n" % n for n in range(200_000))))
    data[len(data) * 2 // 3] ^= 1
    events: list[Event] = []
    run_stage(tmp_path / "out", downloading(write_file(tmp_path / f"a.txt{packed}", bytes(data))), events=events)
    assert any("could not be read to its end" in note for note in note_texts(events))


def test_a_parquet_table_without_footer_is_an_error(tmp_path: Path) -> None:
    data = as_parquet(sample_documents())
    with pytest.raises(UnreadableError, match="no Parquet file, or its end is missing"):
        download_texts(write_file(tmp_path / "a.parquet", data[:-10]), tmp_path / "out")


def test_a_parquet_table_is_kept_up_to_its_damage(tmp_path: Path) -> None:
    data = bytearray(as_parquet(sample_documents()))
    with pq.ParquetFile(pa.BufferReader(bytes(data))) as file:
        position = file.metadata.row_group(1).column(1).data_page_offset
    data[position : position + 200] = b"\xff" * 200
    events: list[Event] = []
    downloaded = download_texts(write_file(tmp_path / "a.parquet", bytes(data)), tmp_path / "out", events)
    assert downloaded == sample_documents()[:25]
    assert any("a.parquet could not be read to its end: its data is damaged" in note for note in note_texts(events))


def test_of_many_reasons_the_first_ten_are_reported(tmp_path: Path) -> None:
    for n in range(15):
        write_file(tmp_path / "s" / f"{n:02d}.csv", f"name,size{n}\na,1\n")
    write_file(tmp_path / "s" / "a.jsonl", '{"text": "kept"}\n')
    events: list[Event] = []
    assert download_texts(tmp_path / "s", tmp_path / "out", events, column="text") == ["kept"]
    left_out = [note for note in note_texts(events) if note.startswith("left out")]
    assert len(left_out) == 11 and left_out[-1].startswith("left out 5 files for other reasons: 10.csv")


def test_compressed_binary_files_are_binary(tmp_path: Path) -> None:
    write_file(tmp_path / "s" / "a.gz", gzip.compress(b"\x7fELF\0\0" * 100))
    write_file(tmp_path / "s" / "b.tar.gz", gzip.compress(b"name\0" + b"\0" * 508))
    write_file(tmp_path / "s" / "c.bin", gzip.compress(b"text"))
    write_file(tmp_path / "s" / "d.pdf", b"%PDF-1.7\nno NUL so far")
    write_file(tmp_path / "s" / "e.txt", "text")
    events: list[Event] = []
    assert download_texts(tmp_path / "s", tmp_path / "out", events) == ["text"]
    assert any("left out 4 files, binary: a.gz, b.tar.gz, c.bin, d.pdf" in note for note in note_texts(events))


# Resumption

RESUMED = {
    **{f"a.{kind}": FORMATS[kind](sample_documents()) for kind in FORMATS},
    **{f"a.jsonl{packed}": COMPRESSORS[packed](as_json_lines(sample_documents())) for packed in COMPRESSORS},
    "a.json.gz": gzip.compress(as_json(sample_documents())),
    "unpaired.csv": as_table(sample_documents()) + b'1,"never closed\n' + as_table(sample_documents()),
    "a.txt.gz": gzip.compress("".join(sample_documents()).encode()),
    "a.txt": "".join(sample_documents()).encode("utf-16"),
    "a.html": ("<p>" + "<p>".join(sample_documents())).encode(),
    "wide.csv": as_table(sample_documents()).decode().encode("utf-16"),
    "broken.jsonl": b"{\n\n".join(as_json_lines(sample_documents()).splitlines(keepends=True)),
}


@pytest.mark.parametrize("name", RESUMED)
def test_resuming_from_any_point_gives_the_same_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    small_shards(monkeypatch)
    source = write_file(tmp_path / "s" / name, RESUMED[name])
    write_file(tmp_path / "s" / "z.jsonl", as_json_lines(sample_documents()))
    whole = run_stage(tmp_path / "whole", downloading(source.parent))
    assert len(file_digests(whole)) > 2
    after = 3
    while close_after(tmp_path / "broken", downloading(source.parent), after):
        after += 2
    artifact = Artifact.open(tmp_path / "broken", verify=True)
    assert file_digests(artifact) == file_digests(whole)
    assert artifact.facts == whole.facts


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl.zst"])
def test_resuming_after_a_kill_within_a_shard_gives_the_same_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    small_shards(monkeypatch)
    source = write_file(tmp_path / name, RESUMED[name])
    assert kill_while_writing(tmp_path / "killed", "download", source, 2) == -9
    assert file_digests(run_stage(tmp_path / "killed", downloading(source))) == file_digests(
        run_stage(tmp_path / "whole", downloading(source))
    )


@pytest.mark.parametrize("name", RESUMED)
def test_progress_ends_at_the_size_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from core.events import Progress

    small_shards(monkeypatch)
    events: list[Event] = []
    run_stage(tmp_path / "out", downloading(write_file(tmp_path / name, RESUMED[name])), events=events)
    progress_events = [event for event in events if isinstance(event, Progress) and event.unit == "bytes"]
    assert progress_events[-1].done == progress_events[-1].total == len(RESUMED[name])
    assert [event.done for event in progress_events] == sorted(event.done for event in progress_events)


def test_when_the_disk_is_full_complete_shards_are_kept_and_the_next_attempt_resumes(tmp_path: Path) -> None:
    """A file size limit of 20 kB makes the third shard fail as on a full disk."""
    source = tmp_path / "s"
    for n in range(5):
        write_file(source / f"{n}.txt", "".join(f"{k * (n > 1)}\n" for k in range(30_000)))
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "import core.download\n"
        "from tests.core.stages import downloading, run_stage\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "core.download.SHARD_BYTES = 50_000\n"
        "try:\n"
        "    run_stage(Path(sys.argv[2]), downloading(sys.argv[1]))\n"
        "except OSError as error:\n"
        "    sys.exit(error.strerror)\n"
    )
    assert "File too large" in run_code(script, source, tmp_path / "out").stderr
    left = sorted(path.name for path in (tmp_path / "out.partial").glob("documents-*"))
    assert left == ["documents-00000.parquet", "documents-00001.parquet"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "SHARD_BYTES", 50_000)
        whole = file_digests(run_stage(tmp_path / "whole", downloading(source)))
        assert len(whole) == 5
        assert file_digests(run_stage(tmp_path / "out", downloading(source))) == whole


# Memory


def peak(source: Path, out: Path) -> int:
    """Peak memory in MiB of a process that downloads `source`."""
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from tests.core.stages import downloading, run_stage\n"
        "run_stage(Path(sys.argv[2]), downloading(sys.argv[1]))\n"
        "status = Path('/proc/self/status')\n"
        # on Linux ru_maxrss includes the parent's peak
        "peak = status.read_text().partition('VmHWM:')[2].split()[0] if status.exists() else 0\n"
        "print(int(peak) or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    command = [sys.executable, "-c", script, str(source), str(out)]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout) // 1024


def grow(path: Path, unit: bytes, times: int) -> Path:
    with path.open("wb") as file:
        for _ in range(times):
            file.write(unit)
    return path


def test_memory_does_not_grow_with_the_length_of_a_line(tmp_path: Path) -> None:
    """80 MB of one line as text, and as a JSON line that is too long to be a record, against 10 MB."""
    unit = b"no end in sight " * 2**16
    small = peak(grow(tmp_path / "a.txt", unit, 40), tmp_path / "1")
    large = peak(grow(tmp_path / "b.txt", unit, 160), tmp_path / "2")
    assert large < small + 40
    (tmp_path / "s").mkdir()
    write_file(tmp_path / "s" / "a.txt", "something")
    grow(tmp_path / "s" / "b.jsonl", b'{"text": "' + unit, 160)
    assert peak(tmp_path / "s", tmp_path / "3") < small + 250


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "parquet", "jsonl.zst"])
def test_250_mb_are_read_with_400_mb_of_memory(tmp_path: Path, kind: str) -> None:
    texts = [f"{n} " + "all work and no play makes Jack a dull boy\n" * 60 for n in range(1000)]
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        table = pa.table({"text": texts})
        with pq.ParquetWriter(path, table.schema) as writer:
            writer.write_table(pa.concat_tables([table] * 100), row_group_size=100_000)
    elif kind == "csv":
        write_file(path, "text\n")
        with path.open("ab") as file:
            for _ in range(100):
                file.write(as_table(texts).split(b"\r\n", 1)[1].replace(b"\r\n", b"\n"))
        write_file(path, b"id," + path.read_bytes())
    else:
        unit = as_json_lines(texts) if kind.startswith("jsonl") else "".join(texts).encode()
        grow(path, COMPRESSORS[".zst"](unit) if kind.endswith("zst") else unit, 100)
    assert peak(path, tmp_path / "out") < 400
