"""Data sets of the hub, by the real `datasets` code against a stand-in on loopback: right or a sentence, never half."""

from __future__ import annotations

import gzip
import itertools
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.download import download, hub_client, identify, text_chunks
from core.download.hub import Hub, HubError
from core.download.hub_errors import redact
from core.download.source_reader import SourceBatch
from core.events import Event, Note, Progress
from core.recipe.schema import Source
from core.sources import corpora
from core.storage.artifact import Artifact
from core.storage.documents import DocumentPart
from tests.core.hub_standin import HubStandIn, closed_port, environment, use
from tests.core.made import parts_of, texts_of
from tests.core.stages import ROOT, break_off, contents, killed_while_writing, make, notes, small_shards

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz012345"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """A hub without data sets, which is asked again soon."""
    for name, value in {
        "RETRY_SECONDS": 15.0,
        "FIRST_RESPONSE_SECONDS": 15.0,
        "READ_TIMEOUT": 0.5,
        "BACKOFF": 0.02,
        "MAX_BACKOFF": 0.1,
    }.items():
        monkeypatch.setattr(hub_client, name, value)
    with HubStandIn() as standin:
        use(standin.endpoint, tmp_path / "hf", monkeypatch)
        yield standin


@pytest.fixture
def impatient(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that is soon given up on."""
    for name in ("RETRY_SECONDS", "FIRST_RESPONSE_SECONDS"):
        monkeypatch.setattr(hub_client, name, 0.7)


def parquet(path: Path, texts: list[str | None], group: int = 50, **more: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": pa.array(texts, pa.string()), **more}), path, row_group_size=group)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def lines(file: int, rows: int = 200) -> list[str]:
    """SourceBatch of 0 to 100 characters, no two alike."""
    return [f"file {file} row {row} " + "x" * (row * 37 % 90) for row in range(rows)]


def three_files(folder: Path) -> Path:
    for file in range(3):
        parquet(folder / "data" / f"train-{file:05d}-of-00003.parquet", lines(file))
    return folder


def fetch(path: Path, corpus: str, *, events: list[Event] | None = None, **source: Any) -> Artifact:
    return make(path, lambda out: download(Source(corpus=corpus, **source), out), events=events)


def refused(path: Path, corpus: str, **source: Any) -> str:
    """The sentence a person gets."""
    with pytest.raises(HubError) as trouble:
        fetch(path, corpus, **source)
    return trouble.value.sentence()


def test_a_parquet_data_set_gives_a_document_a_row(hub: HubStandIn, tmp_path: Path) -> None:
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


def test_compressed_files_are_unpacked_while_they_are_read(hub: HubStandIn, tmp_path: Path) -> None:
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "train.jsonl.gz").write_bytes(gzip.compress(b'{"text": "one"}\n{"text": "two"}\n'))
    hub.add("me/z", tmp_path / "z")
    assert texts_of(fetch(tmp_path / "out", "hf:me/z")) == ["one", "two"]
    whole = (tmp_path / "z" / "train.jsonl.gz").read_bytes()
    (tmp_path / "z" / "train.jsonl.gz").write_bytes(whole[:-12])
    hub.add("me/z", tmp_path / "z")
    assert "it cannot be read: Compressed file ended" in refused(tmp_path / "torn", "hf:me/z")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jsonl", b'{"text": "one"}\n{"text": broken\n'),
        ("train.parquet", b"PAR1 but no more"),
        ("train.csv", b'id,text\n1,"never closed\n'),
        ("train.jsonl", b""),
    ],
)
def test_a_broken_file_is_a_sentence(hub: HubStandIn, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / name).write_bytes(content)
    hub.add("me/broken", tmp_path / "b")
    assert "me/broken" in refused(tmp_path / "out", "hf:me/broken")


def test_only_the_column_of_text_is_fetched(hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    noise = [random.Random(row).randbytes(20_000).hex() for row in range(40)]
    file = parquet(tmp_path / "r" / "train.parquet", lines(0, 40), group=10, other=noise)
    hub.add("me/wide", tmp_path / "r")
    assert texts_of(fetch(tmp_path / "out", "hf:me/wide")) == lines(0, 40)
    assert hub.sent("train.parquet") < file.stat().st_size / 2


def test_a_repository_that_is_a_script_is_read_from_the_parquet_branch(hub: HubStandIn, tmp_path: Path) -> None:
    text(tmp_path / "s" / "old.py", "raise SystemExit('never run')")
    text(tmp_path / "s" / "README.md", "---\nlicense: mit\n---\n")
    parquet(tmp_path / "p" / "plain_text" / "train" / "0000.parquet", ["a"])
    parquet(tmp_path / "p" / "plain_text" / "train" / "0001.parquet", ["b"])
    parquet(tmp_path / "p" / "plain_text" / "test" / "0000.parquet", ["no"])
    hub.add("me/old", tmp_path / "s")
    assert "it is only a script" in refused(tmp_path / "none", "hf:me/old")
    hub.add("me/old", tmp_path / "p", "refs/convert/parquet")
    events: list[Event] = []
    assert texts_of(fetch(tmp_path / "out", "hf:me/old", events=events)) == ["a", "b"]
    assert any("only a script" in note and "refs/convert/parquet" in note for note in notes(events))
    assert texts_of(fetch(tmp_path / "test", "hf:me/old", split="test")) == ["no"]
    assert "did you mean 'test'?; there are test, train" in refused(tmp_path / "x", "hf:me/old", split="tests")


def test_bookcorpus_comes_from_the_parquet_branch_first(hub: HubStandIn, tmp_path: Path) -> None:
    parquet(tmp_path / "p" / "plain_text" / "train" / "0000.parquet", ["the half-ling book one ."])
    hub.add("bookcorpus/bookcorpus", tmp_path / "p", "refs/convert/parquet")
    artifact = fetch(tmp_path / "out", "hf:bookcorpus")
    assert (
        texts_of(artifact) == ["the half-ling book one ."] and artifact.facts["repository"] == "bookcorpus/bookcorpus"
    )


@pytest.mark.usefixtures("impatient")
def test_when_the_first_place_is_down_the_next_is_taken_and_the_reason_told(hub: HubStandIn, tmp_path: Path) -> None:
    parquet(tmp_path / "p" / "plain_text" / "train" / "0000.parquet", ["first"])
    parquet(tmp_path / "m" / "data" / "train-00000-of-00001.parquet", ["second"])
    hub.add("bookcorpus/bookcorpus", tmp_path / "p", "refs/convert/parquet")
    hub.add("SamuelYang/bookcorpus", tmp_path / "m")
    hub.fail("bookcorpus/bookcorpus", "status", status=503)
    events: list[Event] = []
    assert texts_of(fetch(tmp_path / "out", "hf:bookcorpus", events=events)) == ["second"]
    assert notes(events)[0].startswith("bookcorpus/bookcorpus: the hub answers with error 503; trying SamuelYang")


def test_another_text_than_the_one_asked_for_is_said_to_be_one(hub: HubStandIn, tmp_path: Path) -> None:
    parquet(tmp_path / "b" / "train.parquet", ["A Whole Book."], title=["t"])
    hub.add("lucadiliello/bookcorpusopen", tmp_path / "b")
    events: list[Event] = []
    assert texts_of(fetch(tmp_path / "out", "hf:bookcorpus", events=events)) == ["A Whole Book."]
    assert any("whole books gathered later" in note for note in notes(events))


@pytest.mark.usefixtures("impatient")
def test_when_all_places_fail_each_reason_is_listed(hub: HubStandIn, tmp_path: Path) -> None:
    text(tmp_path / "s" / "bookcorpus.py", "")
    parquet(tmp_path / "g" / "train.parquet", ["secret"])
    parquet(tmp_path / "n" / "train.parquet", ["x"])
    hub.add("SamuelYang/bookcorpus", tmp_path / "s")
    hub.add("rojagtap/bookcorpus", tmp_path / "g")
    hub.add("lucadiliello/bookcorpusopen", tmp_path / "n")
    hub.gated["rojagtap/bookcorpus"] = TOKEN
    hub.fail("lucadiliello", "status", status=429)
    sentence = refused(tmp_path / "out", "hf:bookcorpus").splitlines()
    assert [line.strip() for line in sentence[1:7]] == [
        "bookcorpus/bookcorpus@refs/convert/parquet: there is no such data set, or it is private",
        "SamuelYang/bookcorpus@main: it is only a script, which `datasets` does not run any more",
        "SamuelYang/bookcorpus@refs/convert/parquet: it has no revision 'refs/convert/parquet'",
        "rojagtap/bookcorpus@main: its owners give access on request",
        "lucadiliello/bookcorpusopen@main: the hub allows no more requests for now (error 429)",
        sentence[6].strip(),
    ]
    assert "HF_TOKEN" in sentence[6] and "hf auth login" in sentence[6]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({}, "say which: --set source.config=NAME, one of deep, wide"),
        ({"config": "wid"}, "did you mean 'wide'?; there are deep, wide"),
        ({"config": "wide", "split": "trian"}, "did you mean 'train'?; there is only train"),
        ({"config": "wide", "column": "txt"}, "did you mean 'text'?; say which: --set source.column=NAME, one of text"),
        ({"config": "deep"}, "say which: --set source.column=NAME, one of left, right"),
        ({"config": "deep", "column": "n"}, "its column 'n' holds int64, not text"),
    ],
)
def test_what_has_to_be_chosen_is_said(hub: HubStandIn, tmp_path: Path, source: dict[str, str], sentence: str) -> None:
    text(tmp_path / "r" / "wide.jsonl", '{"text": "w", "n": 1}\n')
    text(tmp_path / "r" / "deep.jsonl", '{"left": "l", "right": "r", "n": 1}\n')
    card = "configs:\n- config_name: deep\n  data_files: deep.jsonl\n- config_name: wide\n  data_files: wide.jsonl\n"
    text(tmp_path / "r" / "README.md", f"---\n{card}---\n")
    hub.add("me/several", tmp_path / "r")
    assert sentence in refused(tmp_path / "out", "hf:me/several", **source)
    if sentence.endswith("right"):
        assert texts_of(fetch(tmp_path / "right", "hf:me/several", config="deep", column="right")) == ["r"]
        assert texts_of(fetch(tmp_path / "wide", "hf:me/several", config="wide")) == ["w"]


def test_the_column_called_text_is_taken_of_several_and_that_is_said(hub: HubStandIn, tmp_path: Path) -> None:
    parquet(tmp_path / "r" / "train.parquet", ["body"], title=["head"])
    hub.add("me/titled", tmp_path / "r")
    events: list[Event] = []
    assert texts_of(fetch(tmp_path / "out", "hf:me/titled", events=events)) == ["body"]
    assert notes(events)[0] == "me/titled: taking the column 'text'; there are title besides"
    assert texts_of(fetch(tmp_path / "title", "hf:me/titled", column="title")) == ["head"]


def test_a_revision_is_the_one_that_is_read(hub: HubStandIn, tmp_path: Path) -> None:
    parquet(tmp_path / "old" / "train.parquet", ["old"])
    parquet(tmp_path / "new" / "train.parquet", ["new"])
    commit = hub.add("me/moving", tmp_path / "old", "v1.0")
    hub.add("me/moving", tmp_path / "new")
    assert texts_of(fetch(tmp_path / "a", "hf:me/moving@v1.0")) == ["old"]
    assert texts_of(fetch(tmp_path / "b", f"hf:me/moving@{commit}")) == ["old"]
    assert texts_of(fetch(tmp_path / "c", "hf:me/moving")) == ["new"]
    assert "it has no revision 'v2'" in refused(tmp_path / "d", "hf:me/moving@v2")


@pytest.mark.parametrize("where", ["hf:", "hf:bookcorp", "hf:a b", "hf://datasets/me/x", "hf:me/x@", "hf:../x"])
def test_a_name_that_names_no_data_set_is_a_sentence(where: str) -> None:
    with pytest.raises(corpora.CorpusError) as trouble:
        identify(Source(corpus=where))
    assert "hf:bookcorpus" in trouble.value.todo and trouble.value.exit_code == 2


@pytest.mark.usefixtures("impatient")
def test_a_break_in_the_middle_resumes_with_what_is_missing_only(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    hub.add("me/plain", three_files(tmp_path / "r"))
    whole = contents(fetch(tmp_path / "whole", "hf:me/plain"))
    assert len(whole) > 6
    hub.fail("GET .*train-00002", "status", status=503)
    assert "error 503" in refused(tmp_path / "broken", "hf:me/plain")
    kept = sorted(file.name for file in (tmp_path / "broken.partial").glob("documents-*"))
    assert len(kept) >= 4, "the first two files are more than four shards"
    hub.faults.clear()
    hub.ranges.clear()
    # the hub has moved on meanwhile
    parquet(tmp_path / "other" / "data" / "train-00000-of-00001.parquet", ["other"])
    hub.add("me/plain", tmp_path / "other")
    artifact = fetch(tmp_path / "broken", "hf:me/plain")
    assert contents(artifact) == whole and artifact.facts == Artifact.open(tmp_path / "whole").facts
    assert hub.sent("train-00002") > 0 and hub.sent("train-00000") == 0


@pytest.mark.usefixtures("impatient")
def test_a_file_that_is_complete_is_not_opened_again(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    monkeypatch.setattr("core.download.SHARD_BYTES", 1)
    for file in range(3):
        text(tmp_path / "j" / f"train-{file}.jsonl", f'{{"text": "{file}"}}\n')
    hub.add("me/j", tmp_path / "j")
    hub.fail("GET .*train-1", "status")
    assert "error 503" in refused(tmp_path / "out", "hf:me/j")
    hub.faults.clear()
    hub.requests.clear()
    assert texts_of(fetch(tmp_path / "out", "hf:me/j")) == ["0", "1", "2"]
    assert hub.count("GET .*train-0") == 0 and hub.count("GET .*train-1") > 0


def test_a_break_in_the_middle_of_a_file_does_not_fetch_its_beginning_again(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    monkeypatch.setattr(text_chunks, "PART_BYTES", 2**20)
    monkeypatch.setattr("core.download.SHARD_BYTES", 100_000)
    noise = [random.Random(row).randbytes(10_000).hex() for row in range(100)]
    file = parquet(tmp_path / "r" / "train.parquet", noise, group=5)  # type: ignore[arg-type]
    hub.add("me/big", tmp_path / "r")
    whole = contents(fetch(tmp_path / "whole", "hf:me/big"))
    hub.fail("GET .*train.parquet", "status", status=404, after=16)
    assert "error 404" in refused(tmp_path / "out", "hf:me/big")
    assert len(list((tmp_path / "out.partial").glob("documents-*"))) > len(whole) / 3
    hub.faults.clear()
    hub.ranges.clear()
    assert contents(fetch(tmp_path / "out", "hf:me/big")) == whole
    assert 0 < hub.sent("train") < file.stat().st_size * 0.7


@pytest.mark.parametrize("seed", range(2))
def test_breaks_at_any_point_leave_no_trace(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    small_shards(monkeypatch)
    text(tmp_path / "j" / "train.jsonl", "".join(json.dumps({"text": line}) + "\n" for line in lines(7, 500)))
    parquet(tmp_path / "p" / "train.parquet", ["long " * 500 if row % 60 == 7 else f"row {row}" for row in range(500)])
    for name in "jp":
        hub.add(f"me/{name}", tmp_path / name)
        stage = lambda out, name=name: download(Source(corpus=f"hf:me/{name}"), out)  # noqa: E731
        whole = contents(make(tmp_path / f"whole-{name}", stage))
        assert len(whole) > 4
        after = 5 + 3 * seed
        while break_off(tmp_path / name, stage, after):
            after = after * 5 // 4
        assert contents(Artifact.open(tmp_path / name)) == whole


def test_after_kill_in_the_middle_the_documents_are_the_same(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    hub.add("me/plain", three_files(tmp_path / "r"))
    assert killed_while_writing(tmp_path / "killed", "download", "hf:me/plain", 4) == -9
    assert not (tmp_path / "killed").exists()
    assert contents(fetch(tmp_path / "killed", "hf:me/plain")) == contents(fetch(tmp_path / "whole", "hf:me/plain"))


def test_files_at_another_host_are_read_and_watched_as_well(hub: HubStandIn, tmp_path: Path) -> None:
    hub.add("me/plain", three_files(tmp_path / "r"))
    hub.elsewhere = True
    hub.fail("GET /store/.*train-00001", "drop", times=1)
    hub.fail("GET /store/.*train-00002", "longer", times=1)
    assert texts_of(fetch(tmp_path / "out", "hf:me/plain")) == lines(0) + lines(1) + lines(2)
    assert all(fault.times == 0 for fault in hub.faults)


@pytest.mark.parametrize("kind", ["status", "drop", "short", "longer", "no_range", "stall"])
@pytest.mark.parametrize("what", ["data", "tree", "revision"])
def test_a_fault_that_passes_leaves_no_trace(hub: HubStandIn, tmp_path: Path, kind: Any, what: str) -> None:
    hub.add("me/plain", three_files(tmp_path / "r"))
    where = {"data": "GET .*resolve.*train-00001", "tree": "/tree/", "revision": "/revision/"}[what]
    hub.fail(where, kind, times=1 if kind == "stall" else 2, headers={"Retry-After": "1"})
    assert texts_of(fetch(tmp_path / "out", "hf:me/plain")) == lines(0) + lines(1) + lines(2)


@pytest.mark.parametrize(
    ("kind", "more", "sentence"),
    [
        ("status", {"status": 401}, "the hub refuses to give it (error 401)"),
        ("status", {"status": 403}, "the hub refuses to give it (error 403)"),
        ("status", {"status": 404}, "the hub does not have it (error 404)"),
        ("status", {"status": 429, "headers": {"Retry-After": "86400"}}, "allows no more requests"),
        ("status", {"status": 503}, "the hub answers with error 503"),
        ("stall", {}, "the hub has fallen silent"),
        ("drop", {}, "the connection to the hub broke"),
        ("short", {}, "bytes came where"),
        ("longer", {}, "where the hub's listing says"),
        ("no_range", {}, "the hub sends the whole of it where a part was asked for"),
        ("garbage", {}, "train-00001-of-00003.parquet cannot be read"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_a_fault_that_stays_is_a_sentence_and_what_is_complete_is_kept(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, more: Any, sentence: str
) -> None:
    small_shards(monkeypatch)
    hub.add("me/plain", three_files(tmp_path / "r"))
    hub.fail("GET .*resolve.*train-00001", kind, **more)
    said = refused(tmp_path / "out", "hf:me/plain")
    assert sentence in said
    assert list((tmp_path / "out.partial").glob("documents-*")) and not (tmp_path / "out").exists()
    hub.faults.clear()
    assert contents(fetch(tmp_path / "out", "hf:me/plain")) == contents(fetch(tmp_path / "whole", "hf:me/plain"))


def test_a_parquet_file_that_was_cut_off_is_not_taken_for_a_whole_one(hub: HubStandIn, tmp_path: Path) -> None:
    file = parquet(tmp_path / "r" / "train.parquet", lines(0))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    hub.add("me/cut", tmp_path / "r")
    said = refused(tmp_path / "out", "hf:me/cut")
    assert "me/cut" in said and "Parquet magic bytes not found" in said


def test_progress_is_told_while_the_hub_is_silent_and_stopping_does_not_hang(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_client, "READ_TIMEOUT", 60.0)
    monkeypatch.setattr(hub_client, "RETRY_SECONDS", 60.0)
    hub.add("me/plain", three_files(tmp_path / "r"))
    hub.fail("GET .*resolve.*train-00001", "stall")
    items = Hub(Source(corpus="hf:me/plain")).read({})
    said = [item for item in itertools.islice(items, 9) if not isinstance(item, Note)]
    assert isinstance(said[0], SourceBatch | Progress) and isinstance(said[-1], Progress)
    assert said[-1].total == sum(file.stat().st_size for file in (tmp_path / "r").rglob("*.parquet"))
    items.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"], "it would wait for a minute"


def test_nothing_is_asked_for_any_more_after_it_was_closed(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    hub.add("me/plain", three_files(tmp_path / "r"))
    items = Hub(Source(corpus="hf:me/plain")).read({})
    assert any(isinstance(item, SourceBatch) for item in items)
    items.close()  # type: ignore[attr-defined]
    seen = len(hub.requests)
    time.sleep(0.3)
    assert len(hub.requests) == seen and hub.count("train-00002") == 0


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


def test_a_sample_begins_with_other_files_for_another_seed(hub: HubStandIn, tmp_path: Path) -> None:
    for file in range(12):
        parquet(tmp_path / "r" / f"train-{file:05d}-of-00012.parquet", [f"{file}"])
    hub.add("me/many", tmp_path / "r")
    orders = [texts_of(fetch(tmp_path / f"{n}", "hf:me/many", take="sample", seed=n % 2)) for n in range(3)]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0], key=int) == [str(n) for n in range(12)] != orders[0]


def test_gated_data_is_read_with_a_token_that_is_written_nowhere(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("me/gated", three_files(tmp_path / "r"))
    hub.gated["me/gated"] = TOKEN
    said = refused(tmp_path / "out", "hf:me/gated")
    assert "its owners give access on request" in said and f"{hub.endpoint}/datasets/me/gated" in said
    assert "HF_TOKEN" in said and "hf auth login" in said
    small_shards(monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_thisoneisnolongergood")
    assert "hf auth whoami" in refused(tmp_path / "out", "hf:me/gated")
    hub.authorizations.clear()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.fail("GET .*train-00002", "status", status=403, headers={"X-Error-Message": f"no: Bearer {TOKEN}"})
    events: list[Event] = []
    with pytest.raises(HubError) as trouble:
        fetch(tmp_path / "out", "hf:me/gated", events=events)
    hub.faults.clear()
    hub.elsewhere = True
    fetch(tmp_path / "out", "hf:me/gated", events=events)
    assert hub.count("GET /store/") > 0
    assert hub.authorizations == {("127.0.0.1", f"Bearer {TOKEN}")}
    assert TOKEN not in trouble.value.sentence() + repr(events)
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        (f"token={TOKEN}, please", "token=hf_…, please"),
        (f"{{'Authorization': 'Bearer {TOKEN}'}}", "{'Authorization': 'Bearer …'}"),
        ("Authorization: Basic dXNlcjpwYXNz end", "Authorization: Basic … end"),
        ("http://user:pass@proxy:3128 refused", "http://…@proxy:3128 refused"),
        ("https://cdn.example/x?X-Amz-Signature=abc&Key=d for", "https://cdn.example/x?… for"),
        ("the sk-abcdefgh12345678 key", "the sk-… key"),
        ("nothing hf_ secret: half-life", "nothing hf_ secret: half-life"),
    ],
)
def test_secrets_are_taken_out_of_what_is_said(secret: str, shown: str) -> None:
    assert redact(secret) == shown


def test_a_hub_that_does_not_answer_is_said_so_once_and_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closed_port() as endpoint:
        use(endpoint, tmp_path / "hf", monkeypatch)
        said = refused(tmp_path / "out", "hf:bookcorpus")
    assert f"{endpoint} cannot be reached" in said and said.count("cannot be reached") == 1
    assert "'stdlib' or 'stories'" in said


@pytest.mark.usefixtures("impatient")
def test_a_hub_that_takes_the_connection_and_is_silent_is_given_up_on(hub: HubStandIn, tmp_path: Path) -> None:
    hub.fail("", "stall")
    assert "the hub has fallen silent" in refused(tmp_path / "out", "hf:me/plain")


def test_a_cache_that_cannot_be_written_is_a_sentence(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", "/proc/nowhere")
    text(tmp_path / "r" / "README.md", "a card")
    parquet(tmp_path / "r" / "train.parquet", ["x"])
    hub.add("me/plain", tmp_path / "r")
    said = refused(tmp_path / "out", "hf:me/plain")
    assert "the cache of `huggingface_hub` cannot be written" in said and "HF_HOME" in said


def test_offline_mode_is_heeded_and_named(hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    said = refused(tmp_path / "out", "hf:bookcorpus")
    assert "HF_HUB_OFFLINE is set" in said and "unset it" in said and not hub.requests


def test_identity_needs_no_network_and_follows_what_is_asked_for() -> None:
    asked = [
        Source(corpus="hf:me/x"),
        Source(corpus="hf:me/x@v1"),
        Source(corpus="hf:me/x", config="c"),
        Source(corpus="hf:me/x", split="test"),
        Source(corpus="hf:me/x", column="c"),
    ]
    assert len({identify(source) for source in asked}) == len(asked)
    assert identify(asked[0]) == identify(Source(corpus="hf:me/x"))


def test_only_the_hub_is_asked_and_nothing_is_printed_or_left_behind(hub: HubStandIn, tmp_path: Path) -> None:
    hub.add("me/plain", three_files(tmp_path / "r"))
    hub.fail("GET .*train-00001", "status", times=1)
    script = (
        "import sys, socket; from pathlib import Path; from core.download import download;"
        "from core.storage.artifact import Staging; from core.recipe.schema import Source; "
        "found = socket.getaddrinfo; asked = set();"
        "socket.getaddrinfo = lambda host, *rest, **more: (asked.add(host), found(host, *rest, **more))[1];"
        "out = Staging(Path('out'), 'download', '0');\n"
        "with out.open(): list(download(Source(corpus='hf:me/plain'), out))\n"
        "assert asked == {'127.0.0.1'}, asked"
    )
    place = tmp_path / "work"
    temporary = tmp_path / "tmp"
    place.mkdir()
    temporary.mkdir()
    more = environment(hub.endpoint, tmp_path / "hf") | {"PYTHONPATH": str(ROOT), "PATH": "", "TMPDIR": str(temporary)}
    more["HOME"] = str(tmp_path / "person")
    ran = subprocess.run([sys.executable, "-c", script], cwd=place, env=more, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert texts_of(Artifact.open(place / "out")) == lines(0) + lines(1) + lines(2)
    assert not list(temporary.rglob("*")) and not (tmp_path / "person").exists()
    assert hub.count("agent-harnesses|telemetry|/info") == 0
    assert not list((tmp_path / "hf").rglob("*.parquet")), "streamed, not kept"


def test_a_process_that_was_stopped_while_the_hub_is_silent_ends_well(hub: HubStandIn, tmp_path: Path) -> None:
    hub.add("me/plain", three_files(tmp_path / "r"))
    hub.fail("GET .*train-00001", "stall")
    script = (
        "import sys; from core.download.hub import Hub, SourceBatch; from core.recipe.schema import Source;"
        "items = Hub(Source(corpus='hf:me/plain')).read({}); found = [next(items) for _ in range(7)];"
        "sys.argv[1:] and items.close()"
    )
    more = environment(hub.endpoint, tmp_path / "hf") | {"PYTHONPATH": str(ROOT)}
    for closed in ([], ["close"]):
        ran = subprocess.run([sys.executable, "-c", script, *closed], env=more, capture_output=True, text=True)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", ""), (closed, ran.stderr)


def test_a_card_cannot_send_us_elsewhere(hub: HubStandIn, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as private:
        private.settimeout(0.2)
        address = f"http://127.0.0.1:{private.getsockname()[1]}/secret.jsonl"
        card = f"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {address}\n"
        text(tmp_path / "r" / "README.md", f"---\n{card}---\n")
        text(tmp_path / "r" / "train.jsonl", '{"text": "a"}\n')
        hub.add("me/evil", tmp_path / "r")
        assert "outside of it" in refused(tmp_path / "out", "hf:me/evil")
        with pytest.raises(TimeoutError):
            private.accept()


def test_bytes_that_are_not_utf8_are_replaced_and_counted(hub: HubStandIn, tmp_path: Path) -> None:
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
    assert notes(events)[-1:] == ["4 places were not UTF-8 and were replaced by \ufffd"]
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "train.txt").write_bytes(b"caf\xe9\ngood\n")
    hub.add("me/lines", tmp_path / "t")
    assert "is not UTF-8" in refused(tmp_path / "lines", "hf:me/lines"), "datasets decodes it, and strictly"


def test_the_table_of_corpora_says_what_a_person_has_to_know() -> None:
    for corpus in corpora.CORPORA.values():
        assert corpus.places and corpus.licence and corpus.bytes > 1e6 and corpus.about.endswith(".")
        assert all(place.repository.count("/") == 1 for place in corpus.places)
    book = corpora.known("hf:bookcorpus")
    assert book is not None and "without asking their authors" in book.notice
    assert corpora.known("hf:BookCorpus@refs/convert/parquet") is corpora.known("hf:bookcorpus/bookcorpus") is book
    assert corpora.known("hf:SamuelYang/bookcorpus") is book, "a copy needs the same notice"
    assert corpora.known("hf:lucadiliello/bookcorpusopen") is corpora.CORPORA["bookcorpusopen"]
    assert corpora.known("hf:me/other") is corpora.known("bookcorpus") is corpora.known("stdlib") is None


def test_the_recipes_of_the_table_are_recipes() -> None:
    import msgspec

    from core.recipe.schema import Recipe

    for corpus in corpora.CORPORA.values():
        msgspec.convert(corpus.recipe, Recipe)
    steps = corpora.CORPORA["bookcorpus"].recipe["preprocess"]["steps"]
    assert steps.index("detokenize") < steps.index("passages") < steps.index("duplicates")
