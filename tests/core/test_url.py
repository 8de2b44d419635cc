"""A file behind a URL: fetched once, however often the connection breaks, and never from inside the own network."""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import download
from core.download import fetch, ssrf
from core.download.fetch import RetryPolicy
from core.download.ssrf import UnreachableError
from core.events import Event, Progress
from core.recipe.schema import Source
from core.sources.catalog import UnknownSourceError, resolve_corpus
from core.storage.artifact import Artifact, Staging
from core.storage.documents import read_parts
from tests.core.stages import ROOT, break_off, contents, downloading, make, small_shards
from tests.core.url_server import TEXT, Asked, Server, broken, says, whole

QUICK = RetryPolicy(connect=2, read=0.5, attempts=3, backoff=0.01, max_retry_after=1)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("LLMTUI_ALLOW_PRIVATE_URLS", "1")
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetch, "RETRY_POLICY", QUICK)
    with Server() as serving:
        threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield serving
        serving.shutdown()


def text_of(artifact: Artifact) -> str:
    return "".join(part.text for part in read_parts(artifact.files("documents-*.parquet")))


def ranges(server: Server) -> list[str]:
    return [headers.get("Range", "") for _, headers in server.seen]


def test_a_file_is_fetched_and_read_like_a_local_one(server: Server, tmp_path: Path) -> None:
    events: list[Event] = []
    artifact = make(tmp_path / "out", downloading(server.url("/a/book%20one.txt?key=secret#top")), events=events)
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
def test_the_format_comes_from_the_name_or_else_from_what_the_server_says(
    server: Server, tmp_path: Path, path: str, headers: dict[str, str], data: bytes
) -> None:
    server.script = [whole(data, **headers)]
    artifact = make(tmp_path / "out", downloading(server.url(path)))
    assert [part.text for part in read_parts(artifact.files("documents-*.parquet"))] == ["one", "two"]


def test_a_dropped_connection_goes_on_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.script = [broken(300_000), broken(200_000), whole()]
    assert text_of(make(tmp_path / "out", downloading(server.url()))) == TEXT.decode()
    assert ranges(server) == ["", "bytes=300000-", "bytes=500000-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.script = [broken(300_000), whole(b"a newer version\n", tag='"2"')]
    assert text_of(make(tmp_path / "out", downloading(server.url()))) == "a newer version\n"


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_a_server_without_marks_of_versions_is_asked_for_all_of_it(server: Server, tmp_path: Path, tag: str) -> None:
    server.script = [broken(300_000, tag), whole(tag=tag)]
    assert text_of(make(tmp_path / "out", downloading(server.url()))) == TEXT.decode()
    assert ranges(server) == ["", ""]


def test_a_server_that_ignores_ranges_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    def ignorant(asked: Asked) -> None:
        asked.head(200, len(TEXT), ETag='"1"')
        asked.wfile.write(TEXT)

    server.script = [broken(300_000), ignorant]
    assert text_of(make(tmp_path / "out", downloading(server.url()))) == TEXT.decode()
    assert ranges(server) == ["", "bytes=300000-"]


def test_a_range_from_elsewhere_is_not_believed(server: Server, tmp_path: Path) -> None:
    def elsewhere(asked: Asked) -> None:
        asked.head(206, 10, ETag='"1"', Content_Range=f"bytes 0-9/{len(TEXT)}")
        asked.wfile.write(b"0123456789")

    server.script = [broken(300_000), elsewhere, whole()]
    assert text_of(make(tmp_path / "out", downloading(server.url()))) == TEXT.decode()


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(401, "asks for a login"), (403, "does not let us"), (404, "no such file"), (410, "no longer"), (418, "an error")],
)
def test_a_refusal_is_a_sentence_at_once(server: Server, tmp_path: Path, status: int, sentence: str) -> None:
    server.script = [says(status)]
    with pytest.raises(UnreachableError, match=rf"{sentence}.*\(status {status}\)") as trouble:
        make(tmp_path / "out", downloading(server.url("/f?token=secret")))
    assert len(server.seen) == 1 and trouble.value.todo
    assert "secret" not in trouble.value.sentence()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path, status: int) -> None:
    server.script = [says(status, Retry_After="0"), says(status), whole()]
    assert text_of(make(tmp_path / "out", downloading(server.url()))) == TEXT.decode()


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_stays_busy_is_a_sentence(server: Server, tmp_path: Path, status: int) -> None:
    server.script = [says(status)]
    with pytest.raises(UnreachableError, match=f"status {status}"):
        make(tmp_path / "out", downloading(server.url()))
    assert len(server.seen) == QUICK.attempts


def test_a_wait_longer_than_anyone_has_is_told(server: Server, tmp_path: Path) -> None:
    server.script = [broken(300_000), says(429, Retry_After="3600")]
    with pytest.raises(UnreachableError, match="asks to wait 3,600 s") as trouble:
        make(tmp_path / "out", downloading(server.url()))
    assert trouble.value.kept == "the first 300,000 bytes are kept"
    server.script = [whole()]
    assert text_of(make(tmp_path / "out", downloading(server.url()))) == TEXT.decode()
    assert ranges(server)[-1] == "bytes=300000-", "the next attempt goes on"


def test_a_server_that_stalls_is_left_and_progress_goes_on_meanwhile(server: Server, tmp_path: Path) -> None:
    def stalling(asked: Asked) -> None:
        asked.head(200, len(TEXT), ETag='"1"')
        asked.wfile.write(TEXT[:1000])
        asked.wfile.flush()
        time.sleep(1)

    server.script = [stalling, whole()]
    events: list[Event] = []
    assert text_of(make(tmp_path / "out", downloading(server.url()), events=events)) == TEXT.decode()
    assert ranges(server) == ["", "bytes=1000-"]
    told = [event.tick for event in events if isinstance(event, Progress)]
    assert max(later - earlier for earlier, later in itertools.pairwise(told)) < 1


def test_a_file_of_the_wrong_length_is_never_taken_for_whole(server: Server, tmp_path: Path) -> None:
    def short(asked: Asked) -> None:
        asked.head(200, len(TEXT))
        asked.wfile.write(TEXT[:1000])

    server.script = [short]
    with pytest.raises(UnreachableError, match="the connection broke, after 1,000 of"):
        make(tmp_path / "out", downloading(server.url()))
    assert not (tmp_path / "out").exists()


def test_a_body_without_a_length_is_taken_as_it_comes(server: Server, tmp_path: Path) -> None:
    def endless(asked: Asked) -> None:
        asked.head(200)
        asked.wfile.write(TEXT)

    server.script = [endless]
    assert text_of(make(tmp_path / "out", downloading(server.url()))) == TEXT.decode()


def test_nobody_at_the_address_is_a_sentence(server: Server, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(UnreachableError, match="refuses the connection"):
            make(tmp_path / "out", downloading(f"http://127.0.0.1:{unused.getsockname()[1]}/"))
    with pytest.raises(UnreachableError, match="name is not known"):
        make(tmp_path / "out", downloading("http://no-such-host.invalid/file.txt"))


def test_a_file_larger_than_a_third_of_the_free_space_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "free_bytes", lambda _: 3 * len(TEXT) - 1)
    with pytest.raises(UnreachableError, match="more than a third"):
        make(tmp_path / "out", downloading(server.url()))

    def unsaid(asked: Asked) -> None:
        asked.head(200)
        asked.wfile.write(TEXT)

    server.script = [unsaid]
    monkeypatch.setattr(fetch, "free_bytes", lambda _: len(TEXT))
    with pytest.raises(UnreachableError, match="at least"):
        make(tmp_path / "out2", downloading(server.url()))


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody else knows, and its key, in one file."""
    where = folder / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(where), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    where.write_bytes(where.read_bytes() + (folder / "cert.pem").read_bytes())
    return where


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_only_a_server_that_proves_who_it_is_is_asked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(proof)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url().replace("http:", "https:")
    with pytest.raises(UnreachableError, match="certificate is not valid"):
        make(tmp_path / "out", downloading(url))
    assert not server.seen
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    assert text_of(make(tmp_path / "out", downloading(url))) == TEXT.decode()


# Where the connection may lead


def test_redirects_are_followed_and_end(server: Server, tmp_path: Path) -> None:
    server.script = [says(302, Location="/next"), says(307, Location=server.url("/there.txt")), whole()]
    assert text_of(make(tmp_path / "out", downloading(server.url()))) == TEXT.decode()
    server.script = [says(301, Location="/round")]
    server.seen.clear()
    with pytest.raises(UnreachableError, match="more than 5 times"):
        make(tmp_path / "out2", downloading(server.url()))
    assert len(server.seen) == 6


@pytest.mark.parametrize("place", ["ftp://example.org/x", "file:///etc/passwd", "http://user:pw@127.0.0.1/"])
def test_a_redirect_may_not_lead_to_what_may_not_be_asked(server: Server, tmp_path: Path, place: str) -> None:
    server.script = [says(302, Location=place)]
    with pytest.raises(UnreachableError, match="sends us on to where nothing may be read") as trouble:
        make(tmp_path / "out", downloading(server.url()))
    assert "pw" not in trouble.value.sentence()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "0.0.0.0", "[::ffff:127.0.0.1]", "0x7f000001"])
def test_an_address_inside_is_refused_before_anything_is_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.delenv("LLMTUI_ALLOW_PRIVATE_URLS", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with pytest.raises(UnreachableError, match="inside this machine's own network"):
            make(tmp_path / "out", downloading(f"https://{host}:{listening.getsockname()[1]}/file.txt"))
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_a_name_that_means_an_address_inside_at_the_second_look_is_not_connected_to(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer of the server breaks off; the retry finds the name pointing elsewhere."""
    found, looked = socket.getaddrinfo, list[str]()

    def rebinding(host: str, *arguments: Any, **options: Any) -> Any:
        if host != "books.example":
            return found(host, *arguments, **options)
        looked.append(host)
        return found("127.0.0.1" if len(looked) == 1 else "127.0.0.2", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.delenv("LLMTUI_ALLOW_PRIVATE_URLS")
    monkeypatch.setattr(ssrf, "_is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr("core.sources.catalog.check_url", lambda url: url)
    server.script = [broken(1000)]
    with pytest.raises(UnreachableError, match=r"leads to 127\.0\.0\.2, inside"):
        list(fetch.fetch(f"http://books.example:{server.server_port}/a.txt", tmp_path, QUICK))
    assert len(server.seen) == 1


def test_of_several_addresses_only_public_ones_are_connected_to(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def several(host: str, port: int, *_: Any, **__: Any) -> Any:
        places = [host] if host[0].isdigit() else ["127.0.0.9", "127.0.0.1"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port)) for place in places]

    monkeypatch.setattr(socket, "getaddrinfo", several)
    monkeypatch.delenv("LLMTUI_ALLOW_PRIVATE_URLS")
    monkeypatch.setattr(ssrf, "_is_public", lambda address: address == "127.0.0.1")
    with socket.create_server(("127.0.0.9", server.server_port)) as inside:
        list(fetch.fetch(f"http://books.example:{server.server_port}/a.txt", tmp_path, QUICK))
        inside.setblocking(False)
        with pytest.raises(BlockingIOError):
            inside.accept()
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("::ffff:93.184.216.34", True),
        ("10.0.0.1", False),
        ("172.16.5.5", False),
        ("192.168.1.1", False),
        ("100.100.100.200", False),
        ("169.254.169.254", False),
        ("127.8.8.8", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::5db8:d822", True),
        ("64:ff9b:1::a9fe:a9fe", False),
        ("::127.0.0.1", False),
        ("::ffff:0:7f00:1", False),
        ("fec0::1", False),
        ("::", False),
        ("ff02::1", False),
    ],
)
def test_which_addresses_are_public(monkeypatch: pytest.MonkeyPatch, address: str, public: bool) -> None:
    monkeypatch.delenv("LLMTUI_ALLOW_PRIVATE_URLS", raising=False)
    if public:
        ssrf.check_address(address, "x")
    else:
        with pytest.raises(UnreachableError):
            ssrf.check_address(address, "x")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://example.org/a.txt", "plain http"),
        ("https://user:secret@example.org/a.txt", "user name or password"),
        ("ftp://example.org/a.txt", "begins with 'ftp'"),
        ("zip://a.txt::http://example.org/x.zip", "begins with 'zip'"),
        ("https:///a.txt", "no valid URL"),
        ("https://example.org:99999/a", "no valid URL"),
        ("https://example.org/a b", "no valid URL"),
        ("https://[::1/", "no valid URL"),
    ],
)
def test_a_url_that_may_not_be_asked_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, url: str, sentence: str
) -> None:
    monkeypatch.delenv("LLMTUI_ALLOW_PRIVATE_URLS", raising=False)
    with pytest.raises(UnknownSourceError, match=sentence) as trouble:
        resolve_corpus(url)
    assert "secret" not in trouble.value.sentence() and trouble.value.exit_code == 2


def test_a_proxy_of_the_environment_is_asked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:word@127.0.0.1:{server.server_port}")
    assert text_of(make(tmp_path / "out", downloading("http://books.invalid/a.txt"))) == TEXT.decode()
    path, headers = server.seen[0]
    assert path == "http://books.invalid/a.txt"
    assert {name.lower(): value for name, value in headers.items()}["proxy-authorization"] == "Basic bWU6d29yZA=="
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    make(tmp_path / "out2", downloading(server.url("/direct.txt")))
    assert server.seen[-1][0] == "/direct.txt"


def test_a_proxy_is_not_asked_for_a_name_inside(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLMTUI_ALLOW_PRIVATE_URLS")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "")
    for name in ("localhost", "metadata.internal", "printer", "nas.local"):
        with pytest.raises(UnreachableError, match="inside this machine's own network"):
            make(tmp_path / "out", downloading(f"https://{name}/file.txt"))
    assert not server.seen


# Breaks on our side


def test_the_file_survives_a_break_and_no_network_is_needed_once_it_is_whole(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shards(monkeypatch)
    monkeypatch.setattr("core.processes.progress.PROGRESS_INTERVAL", 0)
    whole_one = contents(make(tmp_path / "whole", downloading(server.url())))
    server.seen.clear()
    after = 2
    while break_off(tmp_path / "out", downloading(server.url()), after):
        after *= 3
        if server.seen and (tmp_path / "out.partial" / "documents-00000.parquet").exists():
            server.script = [says(500)]
    assert contents(Artifact.open(tmp_path / "out", verify=True)) == whole_one
    assert after > 30


def test_after_kill_in_the_middle_of_fetching_no_byte_comes_twice(server: Server, tmp_path: Path) -> None:
    def slow(asked: Asked) -> None:
        asked.head(200, len(TEXT), ETag='"1"')
        for start in range(0, len(TEXT), 50_000):
            asked.wfile.write(TEXT[start : start + 50_000])
            time.sleep(0.05)

    server.script = [slow]
    script = (
        "import sys; from pathlib import Path; import core.download.fetch as fetch\n"
        "from tests.core.stages import downloading, make\n"
        "fetch._SYNC_SECONDS = 0.1\n"
        "make(Path(sys.argv[2]), downloading(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", script, server.url(), str(tmp_path / "out")]
    process = subprocess.Popen(command, cwd=ROOT)
    notes = tmp_path / "out.partial" / "partial-source.json"
    while not notes.exists() or b'"kept":0' in notes.read_bytes():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.script = [whole()]
    assert text_of(make(tmp_path / "out", downloading(server.url()))) == TEXT.decode()
    assert int(ranges(server)[-1].removeprefix("bytes=").rstrip("-")) >= 50_000


def test_a_full_disk_keeps_what_came_and_the_next_attempt_goes_on(server: Server, tmp_path: Path) -> None:
    """A process that may write no file of more than 700 kB meets what a full disk would tell it."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from tests.core.stages import downloading, make\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))\n"
        "try:\n"
        "    make(Path(sys.argv[2]), downloading(sys.argv[1]))\n"
        "except OSError as error:\n"
        "    sys.exit(error.strerror)\n"
    )
    command = [sys.executable, "-c", script, server.url(), str(tmp_path / "out")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "File too large" in ended.stderr
    assert text_of(make(tmp_path / "out", downloading(server.url()))) == TEXT.decode()
    assert ranges(server) == ["", "bytes=700000-"]


def test_a_half_fetched_file_of_another_url_is_not_used(server: Server, tmp_path: Path) -> None:
    server.script = [broken(300_000), says(404)]
    with pytest.raises(UnreachableError):
        make(tmp_path / "out", downloading(server.url("/one.txt")))
    server.script = [whole(b"other\n")]
    assert text_of(make(tmp_path / "out", downloading(server.url("/two.txt")))) == "other\n"
    assert ranges(server)[-1] == ""


def test_nothing_written_holds_the_query_of_the_url(server: Server, tmp_path: Path) -> None:
    server.script = [broken(300_000), says(403)]
    with pytest.raises(UnreachableError):
        make(tmp_path / "out", downloading(server.url("/one.txt?signature=secret")))
    written = [path for path in (tmp_path / "out.partial").iterdir() if path.is_file()]
    assert written and all(b"secret" not in path.read_bytes() for path in written)


def test_identity_is_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    one = download.identify(Source(corpus="https://example.org/a.txt"))
    assert one == download.identify(Source(corpus="https://example.org/a.txt"))
    assert one != download.identify(Source(corpus="https://example.org/a.txt?v=2"))


def test_unfinished_files_survive_a_break_but_are_no_part_of_the_artifact(tmp_path: Path) -> None:
    with Staging(tmp_path / "a", "test", "0").open() as out:
        (out.path / "partial-source").write_text("half")
        (out.path / "stray").write_text("gone")
    with Staging(tmp_path / "a", "test", "0").open() as out:
        assert sorted(os.listdir(out.path)) == ["partial-source"]  # noqa: PTH208
        artifact = out.finish()
    assert sorted(os.listdir(artifact.path)) == ["manifest.json"]  # noqa: PTH208
