"""Data sets of the hub, read by `datasets` and pyarrow from a stand-in on loopback, and resumed."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.download import download, text_chunks
from core.download.hub import Hub
from core.download.source_reader import SourceBatch
from core.events import Event
from core.recipe.schema import Source
from core.storage.artifact import Artifact, Facts, fingerprint
from core.storage.documents import DocumentPart
from tests.core.hub_data import download_error, fetch, lines, parquet, text, three_files
from tests.core.hub_standin import HubStandIn
from tests.core.source_files import parts_of, texts_of
from tests.core.stages import close_after, file_digests, kill_while_writing, note_texts, run_stage, small_shards

pytestmark = pytest.mark.heavy


def test_each_row_of_a_parquet_data_set_is_a_document(hub: HubStandIn, tmp_path: Path) -> None:
    commit = hub.add("me/plain", three_files(tmp_path / "r"))
    artifact = fetch(tmp_path / "out", "hf:me/plain")
    parts = parts_of(artifact)
    assert [part.text for part in parts] == lines(0) + lines(1) + lines(2)
    assert parts[203] == DocumentPart("data/train-00001-of-00003.parquet:4", 0, lines(1)[3])
    size = sum(len(line) for file in range(3) for line in lines(file))
    facts = {"documents": 600, "bytes": size, "repository": "me/plain", "commit": commit, "files": 3}
    assert artifact.facts == facts


def test_a_null_is_no_document_and_rows_keep_their_numbers(hub: HubStandIn, tmp_path: Path) -> None:
    parquet(tmp_path / "r" / "train.parquet", ["a", None, "", None, "b"])
    hub.add("me/holes", tmp_path / "r")
    parts = parts_of(fetch(tmp_path / "out", "hf:me/holes"))
    assert [(part.name, part.text) for part in parts] == [
        ("train.parquet:1", "a"),
        ("train.parquet:3", ""),
        ("train.parquet:5", "b"),
    ]


def test_json_lines_and_text_files_are_read(hub: HubStandIn, tmp_path: Path) -> None:
    text(tmp_path / "j" / "train.jsonl", '{"text": "ünï", "n": 1}\n{"text": "two", "n": 2}\n')
    text(tmp_path / "t" / "a.txt", "one\ntwo\n\nthree")
    text(tmp_path / "c" / "train.csv", "id,text\n1,one\n2,two\n")
    for name in "jtc":
        hub.add(f"me/{name}", tmp_path / name)
    assert texts_of(fetch(tmp_path / "out-j", "hf:me/j")) == ["ünï", "two"]
    assert texts_of(fetch(tmp_path / "out-t", "hf:me/t")) == ["one", "two", "", "three"]
    assert texts_of(fetch(tmp_path / "out-c", "hf:me/c")) == ["one", "two"]


def test_compressed_files_are_decompressed_while_they_are_read(hub: HubStandIn, tmp_path: Path) -> None:
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "train.jsonl.gz").write_bytes(gzip.compress(b'{"text": "one"}\n{"text": "two"}\n'))
    hub.add("me/z", tmp_path / "z")
    assert texts_of(fetch(tmp_path / "out", "hf:me/z")) == ["one", "two"]
    whole = (tmp_path / "z" / "train.jsonl.gz").read_bytes()
    (tmp_path / "z" / "train.jsonl.gz").write_bytes(whole[:-12])
    hub.add("me/z", tmp_path / "z")
    assert "it cannot be read: Compressed file ended" in download_error(tmp_path / "torn", "hf:me/z")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jsonl", b'{"text": "one"}\n{"text": broken\n'),
        ("train.parquet", b"PAR1 but no more"),
        ("train.csv", b'id,text\n1,"never closed\n'),
        ("train.jsonl", b""),
    ],
)
def test_a_damaged_file_is_an_error_that_names_the_data_set(
    hub: HubStandIn, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / name).write_bytes(content)
    hub.add("me/broken", tmp_path / "b")
    assert "me/broken" in download_error(tmp_path / "out", "hf:me/broken")


def test_only_the_text_column_is_downloaded(hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    noise = [random.Random(row).randbytes(20_000).hex() for row in range(40)]
    file = parquet(tmp_path / "r" / "train.parquet", lines(0, 40), group=10, other=noise)
    hub.add("me/wide", tmp_path / "r")
    assert texts_of(fetch(tmp_path / "out", "hf:me/wide")) == lines(0, 40)
    assert hub.sent("train.parquet") < file.stat().st_size / 2


def test_a_position_of_an_earlier_version_resumes(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    for file in range(2):
        texts: list[str | None] = [f"{file} {row}\n" + f"{'x' * 90}\n" * 30 for row in range(4)]
        parquet(tmp_path / "r" / f"train-{file:05d}-of-00002.parquet", texts)
    commit = hub.add("me/long", tmp_path / "r")
    # recorded with the reader that came before `parquet_column`: the second part of row 2 of the second file is next
    position: Facts = {
        **{"repository": "me/long", "branch": "main", "commit": commit, "config": "", "split": "train"},
        **{"column": "text", "file": 1, "row": 2, "part": 1, "done": 2624.8, "replaced": 0},
        "listing": fingerprint(
            [f"hf://datasets/me/long@{commit}/train-{file:05d}-of-00002.parquet" for file in range(2)]
        ),
    }
    parts = parts_of(fetch(tmp_path / "whole", "hf:me/long"))
    start = next(n for n, part in enumerate(parts) if part.name.endswith("00001-of-00002.parquet:3") and part.number)
    batches = [item.batch for item in Hub(Source(corpus="hf:me/long")).read(position) if isinstance(item, SourceBatch)]
    resumed = [text for batch in batches for text in batch["text"].to_pylist()]
    assert resumed == [part.text for part in parts[start:]] and len(resumed) > 2


@pytest.mark.usefixtures("short_retries")
def test_a_resumed_download_reads_only_what_is_missing(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    hub.add("me/plain", three_files(tmp_path / "r"))
    whole = file_digests(fetch(tmp_path / "whole", "hf:me/plain"))
    assert len(whole) > 6
    hub.fail("GET .*train-00002", "status", status=503)
    assert "error 503" in download_error(tmp_path / "broken", "hf:me/plain")
    kept = sorted(file.name for file in (tmp_path / "broken.partial").glob("documents-*"))
    assert len(kept) >= 4, "the first two files are more than four shards"
    hub.faults.clear()
    hub.ranges.clear()
    # the hub has moved on meanwhile
    parquet(tmp_path / "other" / "data" / "train-00000-of-00001.parquet", ["other"])
    hub.add("me/plain", tmp_path / "other")
    artifact = fetch(tmp_path / "broken", "hf:me/plain")
    assert file_digests(artifact) == whole and artifact.facts == Artifact.open(tmp_path / "whole").facts
    assert hub.sent("train-00002") > 0 and hub.sent("train-00000") == 0


@pytest.mark.usefixtures("short_retries")
def test_a_complete_file_is_not_opened_again(hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    monkeypatch.setattr("core.download.SHARD_BYTES", 1)
    for file in range(3):
        text(tmp_path / "j" / f"train-{file}.jsonl", f'{{"text": "{file}"}}\n')
    hub.add("me/j", tmp_path / "j")
    hub.fail("GET .*train-1", "status")
    assert "error 503" in download_error(tmp_path / "out", "hf:me/j")
    hub.faults.clear()
    hub.requests.clear()
    assert texts_of(fetch(tmp_path / "out", "hf:me/j")) == ["0", "1", "2"]
    assert hub.count("GET .*train-0") == 0 and hub.count("GET .*train-1") > 0


def test_a_download_resumes_in_the_middle_of_a_file(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    monkeypatch.setattr(text_chunks, "PART_BYTES", 2**20)
    monkeypatch.setattr("core.download.SHARD_BYTES", 100_000)
    noise = [random.Random(row).randbytes(10_000).hex() for row in range(100)]
    file = parquet(tmp_path / "r" / "train.parquet", noise, group=5)
    hub.add("me/big", tmp_path / "r")
    whole = file_digests(fetch(tmp_path / "whole", "hf:me/big"))
    hub.fail("GET .*train.parquet", "status", status=404, after=16)
    assert "error 404" in download_error(tmp_path / "out", "hf:me/big")
    assert len(list((tmp_path / "out.partial").glob("documents-*"))) > len(whole) / 3
    hub.faults.clear()
    hub.ranges.clear()
    assert file_digests(fetch(tmp_path / "out", "hf:me/big")) == whole
    assert 0 < hub.sent("train") < file.stat().st_size * 0.7


@pytest.mark.parametrize("seed", range(2))
def test_interruptions_at_any_point_do_not_change_the_documents(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    small_shards(monkeypatch)
    text(tmp_path / "j" / "train.jsonl", "".join(json.dumps({"text": line}) + "\n" for line in lines(7, 500)))
    parquet(tmp_path / "p" / "train.parquet", ["long " * 500 if row % 60 == 7 else f"row {row}" for row in range(500)])
    for name in "jp":
        hub.add(f"me/{name}", tmp_path / name)
        stage = lambda out, name=name: download(Source(corpus=f"hf:me/{name}"), out)  # noqa: E731
        whole = file_digests(run_stage(tmp_path / f"whole-{name}", stage))
        assert len(whole) > 4
        after = 5 + 3 * seed
        while close_after(tmp_path / name, stage, after):
            after = after * 5 // 4
        assert file_digests(Artifact.open(tmp_path / name)) == whole


def test_after_sigkill_the_documents_are_the_same(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    hub.add("me/plain", three_files(tmp_path / "r"))
    assert kill_while_writing(tmp_path / "killed", "download", "hf:me/plain", 4) == -9
    assert not (tmp_path / "killed").exists()
    assert file_digests(fetch(tmp_path / "killed", "hf:me/plain")) == file_digests(
        fetch(tmp_path / "whole", "hf:me/plain")
    )


def test_a_truncated_parquet_file_is_an_error(hub: HubStandIn, tmp_path: Path) -> None:
    file = parquet(tmp_path / "r" / "train.parquet", lines(0))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    hub.add("me/cut", tmp_path / "r")
    message = download_error(tmp_path / "out", "hf:me/cut")
    assert "me/cut" in message and "Parquet magic bytes not found" in message


def test_progress_follows_the_bytes_of_the_data_files(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    hub.add("me/plain", three_files(tmp_path / "r"))
    origin = Hub(Source(corpus="hf:me/plain"))
    rows = [item for item in origin.read({}) if isinstance(item, SourceBatch)]
    total = sum(file.stat().st_size for file in (tmp_path / "r").rglob("*.parquet"))
    assert origin.total == rows[-1].done == total
    read = 0
    for item in rows:
        read += item.batch.num_rows
        assert item.done / total == pytest.approx(read / 600, abs=0.01)


def test_the_order_of_files_of_a_sample_depends_on_the_seed(hub: HubStandIn, tmp_path: Path) -> None:
    for file in range(12):
        parquet(tmp_path / "r" / f"train-{file:05d}-of-00012.parquet", [f"{file}"])
    hub.add("me/many", tmp_path / "r")
    orders = [texts_of(fetch(tmp_path / f"{n}", "hf:me/many", take="sample", seed=n % 2)) for n in range(3)]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0], key=int) == [str(n) for n in range(12)] != orders[0]


def test_invalid_utf8_is_replaced_and_counted(hub: HubStandIn, tmp_path: Path) -> None:
    bad = pa.array([b"good", b"caf\xe9", b"\xed\xa0\x80"], pa.binary()).view(pa.string())
    (tmp_path / "r").mkdir()
    pq.write_table(pa.table({"text": bad}), tmp_path / "r" / "train.parquet")
    hub.add("me/latin", tmp_path / "r")
    events: list[Event] = []
    assert texts_of(fetch(tmp_path / "out", "hf:me/latin", events=events)) == [
        "good",
        "caf\ufffd",
        "\ufffd\ufffd\ufffd",
    ]
    assert note_texts(events)[-1:] == ["4 places were not UTF-8 and were replaced by \ufffd"]
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "train.txt").write_bytes(b"caf\xe9\ngood\n")
    hub.add("me/lines", tmp_path / "t")
    assert "is not UTF-8" in download_error(tmp_path / "lines", "hf:me/lines"), "datasets decodes it, and strictly"
