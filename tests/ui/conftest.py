"""Every test of the screen runs as in a local terminal with colours."""

from __future__ import annotations

import pytest

CLIPBOARDS = ("TMUX", "STY", "DISPLAY", "WAYLAND_DISPLAY", "TERM_PROGRAM", "WT_SESSION")
"""Variables that lead to a clipboard of the one who runs the tests."""


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSH_CONNECTION", "SSH_TTY", "NO_COLOR", "LLMTUI_ASCII", "LC_ALL", "LC_CTYPE", "LANG", *CLIPBOARDS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are created and nothing is started, for tests that are not about what trains them."""
    monkeypatch.setattr("core.runs.launch.start_detached", lambda *_, **__: None)
