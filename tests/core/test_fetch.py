"""Download of a URL's file: resumption, retries, errors."""

from __future__ import annotations

import gzip
import itertools
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from core import download
from core.download import fetch
from core.download.ssrf import UnreachableError
from core.events import Event, Progress
from core.recipe.schema import Source
from core.storage.artifact import Artifact, Staging
from core.storage.documents import read_parts
from tests.core.stages import close_after, downloading, file_digests, run_stage, small_shards
from tests.core.url_server import QUICK, TEXT, RequestHandler, Server, drop_after, ranges, respond, serve, text_of
from tests.run_code import run_code, start_code


def test_a_file_is_downloaded_and_read_like_a_local_one(server: Server, tmp_path: Path) -> None:
    events: list[Event] = []
    artifact = run_stage(tmp_path / "out", downloading(server.url("/a/book%20one.txt?key=secret#top")), events=events)
    assert text_of(artifact) == TEXT.decode()
    assert {part.name for part in read_parts(artifact.files("documents-*.parquet"))} == {"book one.txt"}
    assert sorted(path.name for path in artifact.path.iterdir()) == ["documents-00000.parquet", "manifest.json"]
    assert [path for path, _ in server.seen] == ["/a/book%20one.txt?key=secret"]
    assert [e for e in events if isinstance(e, Progress)][-1].total == len(TEXT)


@pytest.mark.parametrize(
    ("path", "headers", "data"),
    [
        ("/a.jsonl.gz", {}, gzip.compress(b'"one"\n"two"\n')),
        ("/lines?x=1", {"Content_Type": "application/x-ndjson"}, b'"one"\n"two"\n'),
        ("/lines.jsonl", {"Content_Encoding": "gzip"}, gzip.compress(b'"one"\n"two"\n')),
    ],
)
def test_the_format_follows_from_the_name_or_the_headers(
    server: Server, tmp_path: Path, path: str, headers: dict[str, str], data: bytes
) -> None:
    server.script = [serve(data, **headers)]
    artifact = run_stage(tmp_path / "out", downloading(server.url(path)))
    assert [part.text for part in read_parts(artifact.files("documents-*.parquet"))] == ["one", "two"]


def test_a_broken_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.script = [drop_after(300_000), drop_after(200_000), serve()]
    assert text_of(run_stage(tmp_path / "out", downloading(server.url()))) == TEXT.decode()
    assert ranges(server) == ["", "bytes=300000-", "bytes=500000-"]


def test_a_file_that_changed_is_downloaded_from_the_start(server: Server, tmp_path: Path) -> None:
    server.script = [drop_after(300_000), serve(b"a newer version\n", tag='"2"')]
    assert text_of(run_stage(tmp_path / "out", downloading(server.url()))) == "a newer version\n"


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_without_a_validator_the_whole_file_is_requested(server: Server, tmp_path: Path, tag: str) -> None:
    server.script = [drop_after(300_000, tag), serve(tag=tag)]
    assert text_of(run_stage(tmp_path / "out", downloading(server.url()))) == TEXT.decode()
    assert ranges(server) == ["", ""]


def test_a_server_that_ignores_ranges_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    def ignorant(request: RequestHandler) -> None:
        request.head(200, len(TEXT), ETag='"1"')
        request.wfile.write(TEXT)

    server.script = [drop_after(300_000), ignorant]
    assert text_of(run_stage(tmp_path / "out", downloading(server.url()))) == TEXT.decode()
    assert ranges(server) == ["", "bytes=300000-"]


def test_a_wrong_content_range_is_rejected(server: Server, tmp_path: Path) -> None:
    def elsewhere(request: RequestHandler) -> None:
        request.head(206, 10, ETag='"1"', Content_Range=f"bytes 0-9/{len(TEXT)}")
        request.wfile.write(b"0123456789")

    server.script = [drop_after(300_000), elsewhere, serve()]
    assert text_of(run_stage(tmp_path / "out", downloading(server.url()))) == TEXT.decode()


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(401, "asks for a login"), (403, "does not let us"), (404, "no such file"), (410, "no longer"), (418, "an error")],
)
def test_a_client_error_is_not_retried(server: Server, tmp_path: Path, status: int, sentence: str) -> None:
    server.script = [respond(status)]
    with pytest.raises(UnreachableError, match=rf"{sentence}.*\(status {status}\)") as caught:
        run_stage(tmp_path / "out", downloading(server.url("/f?token=secret")))
    assert len(server.seen) == 1 and caught.value.todo
    assert "secret" not in caught.value.sentence()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_retried(server: Server, tmp_path: Path, status: int) -> None:
    server.script = [respond(status, Retry_After="0"), respond(status), serve()]
    assert text_of(run_stage(tmp_path / "out", downloading(server.url()))) == TEXT.decode()


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_stays_busy_is_an_error(server: Server, tmp_path: Path, status: int) -> None:
    server.script = [respond(status)]
    with pytest.raises(UnreachableError, match=f"status {status}"):
        run_stage(tmp_path / "out", downloading(server.url()))
    assert len(server.seen) == QUICK.attempts


def test_a_retry_after_beyond_the_limit_is_an_error(server: Server, tmp_path: Path) -> None:
    server.script = [drop_after(300_000), respond(429, Retry_After="3600")]
    with pytest.raises(UnreachableError, match="asks to wait 3,600 s") as caught:
        run_stage(tmp_path / "out", downloading(server.url()))
    assert caught.value.kept == "the first 300 kB are kept"
    server.script = [serve()]
    assert text_of(run_stage(tmp_path / "out", downloading(server.url()))) == TEXT.decode()
    assert ranges(server)[-1] == "bytes=300000-", "the next attempt resumes"


def test_a_stalled_server_is_retried_and_progress_continues(server: Server, tmp_path: Path) -> None:
    def stalling(request: RequestHandler) -> None:
        request.head(200, len(TEXT), ETag='"1"')
        request.wfile.write(TEXT[:1000])
        request.wfile.flush()
        time.sleep(1)

    server.script = [stalling, serve()]
    events: list[Event] = []
    assert text_of(run_stage(tmp_path / "out", downloading(server.url()), events=events)) == TEXT.decode()
    assert ranges(server) == ["", "bytes=1000-"]
    ticks = [event.tick for event in events if isinstance(event, Progress)]
    assert max(later - earlier for earlier, later in itertools.pairwise(ticks)) < 1


def test_a_file_of_the_wrong_length_is_an_error(server: Server, tmp_path: Path) -> None:
    def short(request: RequestHandler) -> None:
        request.head(200, len(TEXT))
        request.wfile.write(TEXT[:1000])

    server.script = [short]
    with pytest.raises(UnreachableError, match=r"the connection broke, after 1\.00 kB of"):
        run_stage(tmp_path / "out", downloading(server.url()))
    assert not (tmp_path / "out").exists()


def test_a_body_without_content_length_is_accepted(server: Server, tmp_path: Path) -> None:
    def endless(request: RequestHandler) -> None:
        request.head(200)
        request.wfile.write(TEXT)

    server.script = [endless]
    assert text_of(run_stage(tmp_path / "out", downloading(server.url()))) == TEXT.decode()


def test_a_refused_connection_is_an_error(server: Server, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(UnreachableError, match="refuses the connection"):
            run_stage(tmp_path / "out", downloading(f"http://127.0.0.1:{unused.getsockname()[1]}/"))
    with pytest.raises(UnreachableError, match="name is not known"):
        run_stage(tmp_path / "out", downloading("http://no-such-host.invalid/file.txt"))


def test_a_file_larger_than_a_third_of_the_free_space_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "free_bytes", lambda _: 3 * len(TEXT) - 1)
    with pytest.raises(UnreachableError, match="more than a third"):
        run_stage(tmp_path / "out", downloading(server.url()))

    def unsaid(request: RequestHandler) -> None:
        request.head(200)
        request.wfile.write(TEXT)

    server.script = [unsaid]
    monkeypatch.setattr(fetch, "free_bytes", lambda _: len(TEXT))
    with pytest.raises(UnreachableError, match="at least"):
        run_stage(tmp_path / "out2", downloading(server.url()))


@pytest.mark.heavy
def test_a_complete_file_survives_an_interruption_and_needs_no_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    monkeypatch.setattr("core.processes.progress.PROGRESS_INTERVAL", 0)
    whole_one = file_digests(run_stage(tmp_path / "whole", downloading(server.url())))
    server.seen.clear()
    after = 2
    while close_after(tmp_path / "out", downloading(server.url()), after):
        after *= 3
        if server.seen and (tmp_path / "out.partial" / "documents-00000.parquet").exists():
            server.script = [respond(500)]
    assert file_digests(Artifact.open(tmp_path / "out", verify=True)) == whole_one
    assert after > 30


def test_after_sigkill_the_download_resumes(server: Server, tmp_path: Path) -> None:
    def slow(request: RequestHandler) -> None:
        request.head(200, len(TEXT), ETag='"1"')
        for start in range(0, len(TEXT), 50_000):
            request.wfile.write(TEXT[start : start + 50_000])
            time.sleep(0.05)

    server.script = [slow]
    script = (
        "import sys; from pathlib import Path; import core.download.fetch as fetch\n"
        "from tests.core.stages import downloading, run_stage\n"
        "fetch._SYNC_SECONDS = 0.1\n"
        "run_stage(Path(sys.argv[2]), downloading(sys.argv[1]))\n"
    )
    process = start_code(script, server.url(), tmp_path / "out")
    notes = tmp_path / "out.partial" / "partial-source.json"
    while not notes.exists() or b'"kept":0' in notes.read_bytes():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    server.script = [serve()]
    assert text_of(run_stage(tmp_path / "out", downloading(server.url()))) == TEXT.decode()
    assert int(ranges(server)[-1].removeprefix("bytes=").rstrip("-")) >= 50_000


def test_a_full_disk_keeps_the_bytes_and_the_next_attempt_resumes(server: Server, tmp_path: Path) -> None:
    """A process that may write no file of more than 700 kB meets what a full disk would tell it."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from tests.core.stages import downloading, run_stage\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))\n"
        "try:\n"
        "    run_stage(Path(sys.argv[2]), downloading(sys.argv[1]))\n"
        "except OSError as error:\n"
        "    sys.exit(error.strerror)\n"
    )
    assert "File too large" in run_code(script, server.url(), tmp_path / "out").stderr
    assert text_of(run_stage(tmp_path / "out", downloading(server.url()))) == TEXT.decode()
    assert ranges(server) == ["", "bytes=700000-"]


def test_a_partial_file_of_another_url_is_not_used(server: Server, tmp_path: Path) -> None:
    server.script = [drop_after(300_000), respond(404)]
    with pytest.raises(UnreachableError):
        run_stage(tmp_path / "out", downloading(server.url("/one.txt")))
    server.script = [serve(b"other\n")]
    assert text_of(run_stage(tmp_path / "out", downloading(server.url("/two.txt")))) == "other\n"
    assert ranges(server)[-1] == ""


def test_the_query_of_the_url_is_never_written(server: Server, tmp_path: Path) -> None:
    server.script = [drop_after(300_000), respond(403)]
    with pytest.raises(UnreachableError):
        run_stage(tmp_path / "out", downloading(server.url("/one.txt?signature=secret")))
    written = [path for path in (tmp_path / "out.partial").iterdir() if path.is_file()]
    assert written and all(b"secret" not in path.read_bytes() for path in written)


def test_the_fingerprint_is_that_of_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    one = download.source_fingerprint(Source(corpus="https://example.org/a.txt"))
    assert one == download.source_fingerprint(Source(corpus="https://example.org/a.txt"))
    assert one != download.source_fingerprint(Source(corpus="https://example.org/a.txt?v=2"))


def test_partial_files_survive_an_interruption_but_are_not_in_the_artifact(tmp_path: Path) -> None:
    with Staging(tmp_path / "a", "test", "0").open() as out:
        (out.path / "partial-source").write_text("half")
        (out.path / "stray").write_text("gone")
    with Staging(tmp_path / "a", "test", "0").open() as out:
        assert sorted(os.listdir(out.path)) == ["partial-source"]  # noqa: PTH208
        artifact = out.finish()
    assert sorted(os.listdir(artifact.path)) == ["manifest.json"]  # noqa: PTH208
