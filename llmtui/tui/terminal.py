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
    setting = os.environ.get("LLMTUI_ASCII", "")
    if setting:
        return setting != "0"
    locale = next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := os.environ.get(name))), "UTF-8")
    return "utf8" not in locale.lower().replace("-", "")


BELL = "\x07"

SAVE_TITLE = "\x1b[22;2t"
RESTORE_TITLE = "\x1b]2;\x07\x1b[23;2t"
"""Clears the title, for terminals that do not keep the one before, then brings that back."""


def set_title(text: str, *, first: bool) -> str:
    """The sequence that makes `text`, which is sanitised, the title of the terminal; of the pane in tmux.

    first: save the title before, for `RESTORE_TITLE`.
    """
    return (SAVE_TITLE if first else "") + f"\x1b]2;{text}\x07"


def desktop_notice(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The sequence for a desktop notice of `text`, which is sanitised; empty where the terminal is not known to show
    them, as others print a part of it."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    text = text.replace(";", ",")  # which separates the parts of a notice
    if term.startswith("xterm-kitty") or "KITTY_WINDOW_ID" in environment:
        return passed_through(f"\x1b]99;;llmtui: {text}\x1b\\", environment)
    if term.startswith(("foot", "rxvt-unicode")):
        return passed_through(f"\x1b]777;notify;llmtui;{text}\x07", environment)
    others = ("LC_TERMINAL", "WEZTERM_PANE", "GHOSTTY_RESOURCES_DIR")  # known inside of tmux, too
    if program in ("iTerm.app", "WezTerm", "ghostty") or any(environment.get(name) for name in others):
        return passed_through(f"\x1b]9;llmtui: {text}\x07", environment)
    return ""


def configure_textual() -> None:
    """Reduce what Textual sends over SSH. Has no effect once Textual is imported."""
    if over_ssh():
        for name, value in _SSH_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
