"""Which hosts a URL, its redirects and a proxy may lead to."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.download import fetch, ssrf
from core.download.ssrf import UnreachableError
from core.sources.catalog import UnknownSourceError, resolve_corpus
from tests.core.stages import downloading, run_stage
from tests.core.url_server import QUICK, TEXT, Server, drop_after, respond, serve, text_of


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that no authority signed, and its key, in one file."""
    where = folder / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(where), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    where.write_bytes(where.read_bytes() + (folder / "cert.pem").read_bytes())
    return where


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_the_certificate_is_verified(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proof = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(proof)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url().replace("http:", "https:")
    with pytest.raises(UnreachableError, match="certificate is not valid"):
        run_stage(tmp_path / "out", downloading(url))
    assert not server.seen
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    assert text_of(run_stage(tmp_path / "out", downloading(url))) == TEXT.decode()


def test_redirects_are_followed_up_to_a_limit(server: Server, tmp_path: Path) -> None:
    server.script = [respond(302, Location="/next"), respond(307, Location=server.url("/there.txt")), serve()]
    assert text_of(run_stage(tmp_path / "out", downloading(server.url()))) == TEXT.decode()
    server.script = [respond(301, Location="/round")]
    server.seen.clear()
    with pytest.raises(UnreachableError, match="more than 5 times"):
        run_stage(tmp_path / "out2", downloading(server.url()))
    assert len(server.seen) == 6


@pytest.mark.parametrize("place", ["ftp://example.org/x", "file:///etc/passwd", "http://user:pw@127.0.0.1/"])
def test_a_redirect_to_a_forbidden_url_is_refused(server: Server, tmp_path: Path, place: str) -> None:
    server.script = [respond(302, Location=place)]
    with pytest.raises(UnreachableError, match="redirects to a URL that must not be read") as caught:
        run_stage(tmp_path / "out", downloading(server.url()))
    assert "pw" not in caught.value.sentence()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "0.0.0.0", "[::ffff:127.0.0.1]", "0x7f000001"])
def test_a_private_address_is_refused_before_connecting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.delenv("LLMTUI_ALLOW_PRIVATE_URLS", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with pytest.raises(UnreachableError, match="inside this machine's own network"):
            run_stage(tmp_path / "out", downloading(f"https://{host}:{listening.getsockname()[1]}/file.txt"))
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_a_name_that_rebinds_to_a_private_address_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer of the server breaks off; the retry finds the name pointing elsewhere."""
    original, looked = socket.getaddrinfo, list[str]()

    def rebinding(host: str, *arguments: Any, **options: Any) -> Any:
        if host != "books.example":
            return original(host, *arguments, **options)
        looked.append(host)
        return original("127.0.0.1" if len(looked) == 1 else "127.0.0.2", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.delenv("LLMTUI_ALLOW_PRIVATE_URLS")
    monkeypatch.setattr(ssrf, "_is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr("core.sources.catalog.check_url", lambda url: url)
    server.script = [drop_after(1000)]
    with pytest.raises(UnreachableError, match=r"leads to 127\.0\.0\.2, inside"):
        list(fetch.fetch(f"http://books.example:{server.server_port}/a.txt", tmp_path, QUICK))
    assert len(server.seen) == 1


def test_only_public_addresses_of_a_name_are_connected_to(
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
def test_a_forbidden_url_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, url: str, sentence: str) -> None:
    monkeypatch.delenv("LLMTUI_ALLOW_PRIVATE_URLS", raising=False)
    with pytest.raises(UnknownSourceError, match=sentence) as caught:
        resolve_corpus(url)
    assert "secret" not in caught.value.sentence() and caught.value.exit_code == 2


def test_a_proxy_of_the_environment_is_used(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:word@127.0.0.1:{server.server_port}")
    assert text_of(run_stage(tmp_path / "out", downloading("http://books.invalid/a.txt"))) == TEXT.decode()
    path, headers = server.seen[0]
    assert path == "http://books.invalid/a.txt"
    assert {name.lower(): value for name, value in headers.items()}["proxy-authorization"] == "Basic bWU6d29yZA=="
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    run_stage(tmp_path / "out2", downloading(server.url("/direct.txt")))
    assert server.seen[-1][0] == "/direct.txt"


def test_a_proxy_is_not_used_for_a_private_name(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLMTUI_ALLOW_PRIVATE_URLS")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "")
    for name in ("localhost", "metadata.internal", "printer", "nas.local"):
        with pytest.raises(UnreachableError, match="inside this machine's own network"):
            run_stage(tmp_path / "out", downloading(f"https://{name}/file.txt"))
    assert not server.seen
