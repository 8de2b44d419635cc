"""tiktoken's encodings without a network."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.events import Event, Progress
from core.recipe.schema import Tokenize
from core.storage.artifact import Artifact
from core.tokenize import VocabularyUnavailableError, encodings
from tests.core.stages import (
    clean_documents,
    run_stage,
    tokenizing,
)


@pytest.fixture
def clean(tmp_path: Path) -> Artifact:
    (tmp_path / "text").write_text("Some text.\n" * 1000)
    return clean_documents(tmp_path, tmp_path / "text")


@contextlib.contextmanager
def silent_proxy() -> Iterator[str]:
    """A server that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    for connection in taken:
        connection.close()


def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in list(os.environ):
        if name.lower() in ("no_proxy", "all_proxy", "http_proxy", "https_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "empty-cache"))


def test_without_a_network_it_is_said_how_to_get_gpt2(
    clean: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline(tmp_path, monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(VocabularyUnavailableError) as caught:
        run_stage(tmp_path / "tokens", tokenizing(clean, Tokenize(vocabulary="gpt2")))
    assert "TIKTOKEN_CACHE_DIR" in caught.value.todo and "tokenize.vocabulary=bpe" in caught.value.todo


def test_a_network_that_never_answers_is_given_up(
    clean: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encodings, "DOWNLOAD_SECONDS", 0.5)
    with silent_proxy() as proxy:
        offline(tmp_path, monkeypatch, proxy)
        events: list[Event] = []
        with pytest.raises(VocabularyUnavailableError, match="no answer"):
            run_stage(tmp_path / "tokens", tokenizing(clean, Tokenize(vocabulary="gpt2")), events=events)
    assert any(isinstance(event, Progress) for event in events), "a stop would have been heeded meanwhile"
