"""The terminal the workbench runs in, as far as it can be known before Textual is imported."""

from __future__ import annotations

import os

_SSH_ENVIRONMENT = {"TEXTUAL_FPS": "15", "TEXTUAL_ANIMATIONS": "none", "TEXTUAL_SMOOTH_SCROLL": "0"}
"""Textual reads these variables when it is imported; values set by the user are kept."""


def over_ssh() -> bool:
    """Whether the terminal is at the other end of an SSH connection, where every byte costs more."""
    return any(os.environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY"))


def configure_textual() -> None:
    """Reduce what Textual sends over SSH. Has no effect once Textual is imported."""
    if over_ssh():
        for name, value in _SSH_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
