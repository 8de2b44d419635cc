"""Which repository, commit, files and column of a data set are read."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from core.download import source_fingerprint
from core.events import Event
from core.recipe.schema import Source
from core.sources import corpora
from tests.core.hub_data import TOKEN, download_error, fetch, parquet, text
from tests.core.hub_standin import HubStandIn
from tests.core.source_files import texts_of
from tests.core.stages import note_texts

pytestmark = pytest.mark.heavy


def test_a_repository_that_is_a_script_is_read_from_the_parquet_branch(hub: HubStandIn, tmp_path: Path) -> None:
    text(tmp_path / "s" / "old.py", "raise SystemExit('never run')")
    text(tmp_path / "s" / "README.md", "---\nlicense: mit\n---\n")
    parquet(tmp_path / "p" / "plain_text" / "train" / "0000.parquet", ["a"])
    parquet(tmp_path / "p" / "plain_text" / "train" / "0001.parquet", ["b"])
    parquet(tmp_path / "p" / "plain_text" / "test" / "0000.parquet", ["no"])
    hub.add("me/old", tmp_path / "s")
    assert "it is only a script" in download_error(tmp_path / "none", "hf:me/old")
    hub.add("me/old", tmp_path / "p", "refs/convert/parquet")
    events: list[Event] = []
    assert texts_of(fetch(tmp_path / "out", "hf:me/old", events=events)) == ["a", "b"]
    assert any("only a script" in note and "refs/convert/parquet" in note for note in note_texts(events))
    assert texts_of(fetch(tmp_path / "test", "hf:me/old", split="test")) == ["no"]
    assert "did you mean 'test'?; there are test, train" in download_error(tmp_path / "x", "hf:me/old", split="tests")


def test_bookcorpus_comes_from_the_parquet_branch_first(hub: HubStandIn, tmp_path: Path) -> None:
    parquet(tmp_path / "p" / "plain_text" / "train" / "0000.parquet", ["the half-ling book one ."])
    hub.add("bookcorpus/bookcorpus", tmp_path / "p", "refs/convert/parquet")
    artifact = fetch(tmp_path / "out", "hf:bookcorpus")
    assert (
        texts_of(artifact) == ["the half-ling book one ."] and artifact.facts["repository"] == "bookcorpus/bookcorpus"
    )


@pytest.mark.usefixtures("short_retries")
def test_if_the_first_repository_fails_the_next_is_used_and_the_reason_reported(
    hub: HubStandIn, tmp_path: Path
) -> None:
    parquet(tmp_path / "p" / "plain_text" / "train" / "0000.parquet", ["first"])
    parquet(tmp_path / "m" / "data" / "train-00000-of-00001.parquet", ["second"])
    hub.add("bookcorpus/bookcorpus", tmp_path / "p", "refs/convert/parquet")
    hub.add("SamuelYang/bookcorpus", tmp_path / "m")
    hub.fail("bookcorpus/bookcorpus", "status", status=503)
    events: list[Event] = []
    assert texts_of(fetch(tmp_path / "out", "hf:bookcorpus", events=events)) == ["second"]
    assert note_texts(events)[0].startswith("bookcorpus/bookcorpus: the hub answers with error 503; trying SamuelYang")


def test_a_substitute_for_the_requested_corpus_is_reported(hub: HubStandIn, tmp_path: Path) -> None:
    parquet(tmp_path / "b" / "train.parquet", ["A Whole Book."], title=["t"])
    hub.add("lucadiliello/bookcorpusopen", tmp_path / "b")
    events: list[Event] = []
    assert texts_of(fetch(tmp_path / "out", "hf:bookcorpus", events=events)) == ["A Whole Book."]
    assert any("whole books gathered later" in note for note in note_texts(events))


@pytest.mark.usefixtures("short_retries")
def test_if_all_repositories_fail_each_reason_is_listed(hub: HubStandIn, tmp_path: Path) -> None:
    text(tmp_path / "s" / "bookcorpus.py", "")
    parquet(tmp_path / "g" / "train.parquet", ["secret"])
    parquet(tmp_path / "n" / "train.parquet", ["x"])
    hub.add("SamuelYang/bookcorpus", tmp_path / "s")
    hub.add("rojagtap/bookcorpus", tmp_path / "g")
    hub.add("lucadiliello/bookcorpusopen", tmp_path / "n")
    hub.gated["rojagtap/bookcorpus"] = TOKEN
    hub.fail("lucadiliello", "status", status=429)
    sentence = download_error(tmp_path / "out", "hf:bookcorpus").splitlines()
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
def test_an_ambiguous_or_unknown_name_lists_the_choices(
    hub: HubStandIn, tmp_path: Path, source: dict[str, str], sentence: str
) -> None:
    text(tmp_path / "r" / "wide.jsonl", '{"text": "w", "n": 1}\n')
    text(tmp_path / "r" / "deep.jsonl", '{"left": "l", "right": "r", "n": 1}\n')
    card = "configs:\n- config_name: deep\n  data_files: deep.jsonl\n- config_name: wide\n  data_files: wide.jsonl\n"
    text(tmp_path / "r" / "README.md", f"---\n{card}---\n")
    hub.add("me/several", tmp_path / "r")
    assert sentence in download_error(tmp_path / "out", "hf:me/several", **source)
    if sentence.endswith("right"):
        assert texts_of(fetch(tmp_path / "right", "hf:me/several", config="deep", column="right")) == ["r"]
        assert texts_of(fetch(tmp_path / "wide", "hf:me/several", config="wide")) == ["w"]


def test_the_column_text_is_preferred_and_reported(hub: HubStandIn, tmp_path: Path) -> None:
    parquet(tmp_path / "r" / "train.parquet", ["body"], title=["head"])
    hub.add("me/titled", tmp_path / "r")
    events: list[Event] = []
    assert texts_of(fetch(tmp_path / "out", "hf:me/titled", events=events)) == ["body"]
    assert note_texts(events)[0] == "me/titled: taking the column 'text'; there are title besides"
    assert texts_of(fetch(tmp_path / "title", "hf:me/titled", column="title")) == ["head"]


def test_the_requested_revision_is_read(hub: HubStandIn, tmp_path: Path) -> None:
    parquet(tmp_path / "old" / "train.parquet", ["old"])
    parquet(tmp_path / "new" / "train.parquet", ["new"])
    commit = hub.add("me/moving", tmp_path / "old", "v1.0")
    hub.add("me/moving", tmp_path / "new")
    assert texts_of(fetch(tmp_path / "a", "hf:me/moving@v1.0")) == ["old"]
    assert texts_of(fetch(tmp_path / "b", f"hf:me/moving@{commit}")) == ["old"]
    assert texts_of(fetch(tmp_path / "c", "hf:me/moving")) == ["new"]
    assert "it has no revision 'v2'" in download_error(tmp_path / "d", "hf:me/moving@v2")


@pytest.mark.parametrize("where", ["hf:", "hf:bookcorp", "hf:a b", "hf://datasets/me/x", "hf:me/x@", "hf:../x"])
def test_an_invalid_name_is_a_usage_error(where: str) -> None:
    with pytest.raises(corpora.CorpusError) as caught:
        source_fingerprint(Source(corpus=where))
    assert "hf:bookcorpus" in caught.value.todo and caught.value.exit_code == 2


def test_the_fingerprint_depends_on_the_recipe_and_needs_no_network() -> None:
    sources = [
        Source(corpus="hf:me/x"),
        Source(corpus="hf:me/x@v1"),
        Source(corpus="hf:me/x", config="c"),
        Source(corpus="hf:me/x", split="test"),
        Source(corpus="hf:me/x", column="c"),
    ]
    assert len({source_fingerprint(source) for source in sources}) == len(sources)
    assert source_fingerprint(sources[0]) == source_fingerprint(Source(corpus="hf:me/x"))


def test_a_card_cannot_redirect_to_another_host(hub: HubStandIn, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as private:
        private.settimeout(0.2)
        address = f"http://127.0.0.1:{private.getsockname()[1]}/secret.jsonl"
        card = f"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {address}\n"
        text(tmp_path / "r" / "README.md", f"---\n{card}---\n")
        text(tmp_path / "r" / "train.jsonl", '{"text": "a"}\n')
        hub.add("me/evil", tmp_path / "r")
        assert "outside of it" in download_error(tmp_path / "out", "hf:me/evil")
        with pytest.raises(TimeoutError):
            private.accept()
