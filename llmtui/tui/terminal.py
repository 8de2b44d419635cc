"""The terminal the workbench runs in, as far as it can be known before Textual is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping

_SSH_ENVIRONMENT = {"TEXTUAL_FPS": "15", "TEXTUAL_ANIMATIONS": "none", "TEXTUAL_SMOOTH_SCROLL": "0"}
"""Textual reads these variables when it is imported; values set by the user are kept."""

_SCREEN_CHUNK = 250
"""Characters of one string that screen passes on; its limit is 256 in older versions."""


def over_ssh(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal is at the other end of an SSH connection, where every byte costs more."""
    return any(environment.get(name) for name in ("SSH_CONNECTION", "SSH_TTY"))


def passed_through(sequence: str, environment: Mapping[str, str] = os.environ) -> str:
    """`sequence` so that tmux or screen, if one of them runs, hands it to the terminal it runs in.

    tmux does so with its option `allow-passthrough`.
    """
    if environment.get("TMUX"):
        doubled = sequence.replace("\x1b", "\x1b\x1b")
        return f"\x1bPtmux;{doubled}\x1b\\"
    if environment.get("STY"):
        chunks = (sequence[start : start + _SCREEN_CHUNK] for start in range(0, len(sequence), _SCREEN_CHUNK))
        return "".join(f"\x1bP{chunk}\x1b\\" for chunk in chunks)
    return sequence


def ascii_only() -> bool:
    """Whether the terminal is to be sent ASCII alone: `LLMTUI_ASCII=1`, or a locale whose characters are not UTF-8.

    Without a locale, as in many containers, terminals are taken to know UTF-8.
    """
    asked = os.environ.get("LLMTUI_ASCII", "")
    if asked:
        return asked != "0"
    locale = next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := os.environ.get(name))), "UTF-8")
    return "utf8" not in locale.lower().replace("-", "")


def configure_textual() -> None:
    """Reduce what Textual sends over SSH. Has no effect once Textual is imported."""
    if over_ssh():
        for name, value in _SSH_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
