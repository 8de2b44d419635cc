"""The HTTP client for the hub: retries, checks, errors, secrets, and closing it."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from core.download import hub_client
from core.download.hub import Hub, HubError
from core.download.hub_errors import redact
from core.download.source_reader import SourceBatch
from core.events import Event, Note, Progress
from core.recipe.schema import Source
from core.storage.artifact import Artifact
from tests.core.hub_data import TOKEN, download_error, fetch, lines, parquet, text, three_files
from tests.core.hub_standin import HubStandIn, closed_port, environment, use
from tests.core.source_files import texts_of
from tests.core.stages import ROOT, file_digests, small_shards

pytestmark = pytest.mark.heavy


def test_files_redirected_to_another_host_are_checked_as_well(hub: HubStandIn, tmp_path: Path) -> None:
    hub.add("me/plain", three_files(tmp_path / "r"))
    hub.redirects_files = True
    hub.fail("GET /store/.*train-00001", "drop", times=1)
    hub.fail("GET /store/.*train-00002", "longer", times=1)
    assert texts_of(fetch(tmp_path / "out", "hf:me/plain")) == lines(0) + lines(1) + lines(2)
    assert all(fault.times == 0 for fault in hub.faults)


@pytest.mark.parametrize("kind", ["status", "drop", "short", "longer", "no_range", "stall"])
@pytest.mark.parametrize("what", ["data", "tree", "revision"])
def test_a_transient_fault_is_retried(hub: HubStandIn, tmp_path: Path, kind: Any, what: str) -> None:
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
@pytest.mark.usefixtures("short_retries")
def test_a_permanent_fault_is_an_error_and_complete_shards_are_kept(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, more: Any, sentence: str
) -> None:
    small_shards(monkeypatch)
    hub.add("me/plain", three_files(tmp_path / "r"))
    hub.fail("GET .*resolve.*train-00001", kind, **more)
    message = download_error(tmp_path / "out", "hf:me/plain")
    assert sentence in message
    assert list((tmp_path / "out.partial").glob("documents-*")) and not (tmp_path / "out").exists()
    hub.faults.clear()
    assert file_digests(fetch(tmp_path / "out", "hf:me/plain")) == file_digests(
        fetch(tmp_path / "whole", "hf:me/plain")
    )


def test_progress_is_reported_while_the_hub_stalls_and_closing_does_not_block(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_client, "READ_TIMEOUT", 60.0)
    monkeypatch.setattr(hub_client, "RETRY_SECONDS", 60.0)
    hub.add("me/plain", three_files(tmp_path / "r"))
    hub.fail("GET .*resolve.*train-00001", "stall")
    items = Hub(Source(corpus="hf:me/plain")).read({})
    message = [item for item in itertools.islice(items, 9) if not isinstance(item, Note)]
    assert isinstance(message[0], SourceBatch | Progress) and isinstance(message[-1], Progress)
    assert message[-1].total == sum(file.stat().st_size for file in (tmp_path / "r").rglob("*.parquet"))
    items.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"], "it would wait for a minute"


def test_no_request_is_made_after_close(hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    hub.add("me/plain", three_files(tmp_path / "r"))
    items = Hub(Source(corpus="hf:me/plain")).read({})
    assert any(isinstance(item, SourceBatch) for item in items)
    items.close()  # type: ignore[attr-defined]
    seen = len(hub.requests)
    time.sleep(0.3)
    assert len(hub.requests) == seen and hub.count("train-00002") == 0


def test_gated_data_is_read_with_a_token_that_is_never_written(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("me/gated", three_files(tmp_path / "r"))
    hub.gated["me/gated"] = TOKEN
    message = download_error(tmp_path / "out", "hf:me/gated")
    assert "its owners give access on request" in message and f"{hub.endpoint}/datasets/me/gated" in message
    assert "HF_TOKEN" in message and "hf auth login" in message
    small_shards(monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_thisoneisnolongergood")
    assert "hf auth whoami" in download_error(tmp_path / "out", "hf:me/gated")
    hub.authorizations.clear()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.fail("GET .*train-00002", "status", status=403, headers={"X-Error-Message": f"no: Bearer {TOKEN}"})
    events: list[Event] = []
    with pytest.raises(HubError) as caught:
        fetch(tmp_path / "out", "hf:me/gated", events=events)
    hub.faults.clear()
    hub.redirects_files = True
    fetch(tmp_path / "out", "hf:me/gated", events=events)
    assert hub.count("GET /store/") > 0
    assert hub.authorizations == {("127.0.0.1", f"Bearer {TOKEN}")}
    assert TOKEN not in caught.value.sentence() + repr(events)
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
def test_secrets_are_removed_from_messages(secret: str, shown: str) -> None:
    assert redact(secret) == shown


def test_an_unreachable_hub_is_reported_once_and_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_port() as endpoint:
        use(endpoint, tmp_path / "hf", monkeypatch)
        message = download_error(tmp_path / "out", "hf:bookcorpus")
    assert f"{endpoint} cannot be reached" in message and message.count("cannot be reached") == 1
    assert "'stdlib' or 'stories'" in message


@pytest.mark.usefixtures("short_retries")
def test_a_hub_that_never_responds_is_an_error(hub: HubStandIn, tmp_path: Path) -> None:
    hub.fail("", "stall")
    assert "the hub has fallen silent" in download_error(tmp_path / "out", "hf:me/plain")


def test_a_cache_that_cannot_be_written_is_an_error(
    hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", "/proc/nowhere")
    text(tmp_path / "r" / "README.md", "a card")
    parquet(tmp_path / "r" / "train.parquet", ["x"])
    hub.add("me/plain", tmp_path / "r")
    message = download_error(tmp_path / "out", "hf:me/plain")
    assert "the cache of `huggingface_hub` cannot be written" in message and "HF_HOME" in message


def test_offline_mode_makes_no_request(hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = download_error(tmp_path / "out", "hf:bookcorpus")
    assert "HF_HUB_OFFLINE is set" in message and "unset it" in message and not hub.requests


def test_no_other_host_is_contacted_and_no_file_is_left_behind(hub: HubStandIn, tmp_path: Path) -> None:
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


def test_a_process_that_stops_while_the_hub_stalls_exits_cleanly(hub: HubStandIn, tmp_path: Path) -> None:
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
