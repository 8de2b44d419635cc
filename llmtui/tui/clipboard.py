"""Copying text: by a clipboard program of this machine, by the terminal (OSC 52), and into a file where neither is
known to work.

A terminal does not answer whether it took a text, so `copy` says what it did in a sentence.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from core.plural import plural
from core.storage.files import write_atomic
from llmtui.tui.terminal import over_ssh, passed_through
from llmtui.view.sanitize import DANGEROUS

MAX_SEQUENCE_BYTES = 74_994
"""Of text in one OSC 52: its base64 then has fewer than 100,000 bytes, from which terminals drop it."""

PROGRAM_TIMEOUT = 2.0
"""Seconds for a clipboard program, which may wait for a display that does not answer."""

SHORT = 60
"""Characters of a text that the notice repeats."""

FILE_NAME = "copied.txt"
"""In the folder of the exports; overwritten by the next copy, as a clipboard is."""

_KEPT = {code: symbol for code, symbol in DANGEROUS.items() if chr(code) not in "\n\t"}
_TAKES_OSC_52 = ("xterm-kitty", "xterm-ghostty", "alacritty", "foot", "wezterm")
"""Beginnings of TERM of the terminals that take OSC 52 without a setting."""


def osc_52(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The sequence that hands `text` to the terminal's clipboard, through tmux or screen if these run."""
    data = base64.b64encode(text.encode("utf-8", "replace")).decode()
    return passed_through(f"\x1b]52;c;{data}\x07", environment)


def takes_osc_52(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal is known to take OSC 52. tmux and screen hide which terminal it is, and may drop it."""
    if environment.get("TMUX") or environment.get("STY"):
        return False
    known = environment.get("TERM", "").startswith(_TAKES_OSC_52)
    return known or environment.get("TERM_PROGRAM") in ("WezTerm", "ghostty") or "WT_SESSION" in environment


def clipboard_programs(environment: Mapping[str, str] = os.environ) -> list[tuple[str, ...]]:
    """The commands that may take a text on standard input, installed ones only, the best first.

    Over SSH this machine's clipboard is not the one the user pastes from; tmux hands its buffer to the user's terminal.
    """
    commands: list[tuple[str, ...]] = []
    if environment.get("TMUX"):
        commands.append(("tmux", "load-buffer", "-w", "-"))
    if not over_ssh(environment):
        if sys.platform == "darwin":
            commands.append(("pbcopy",))
        if environment.get("WAYLAND_DISPLAY"):
            commands.append(("wl-copy",))
        if environment.get("DISPLAY"):
            commands += [("xclip", "-selection", "clipboard"), ("xsel", "--clipboard", "--input")]
    return [command for command in commands if shutil.which(command[0], path=environment.get("PATH"))]


async def copy(text: str, what: str, write: Callable[[str], object], folder: Path | None) -> str:
    """Copy `text` without its control characters; returns a sentence that says where it is now.

    what: the text in words; by default the text itself if it is short, else its length. Not sanitised.
    write: sends a sequence to the terminal. folder: of the file where nothing else is known to work; None: no file.
    """
    clean = text.translate(_KEPT)
    what = what or _in_words(clean)
    sent = len(clean.encode("utf-8", "replace")) <= MAX_SEQUENCE_BYTES
    if sent:
        write(osc_52(clean))
    for command in clipboard_programs():
        if await _run(command, clean):
            return f"Copied by {command[0]}: {what}."
    if sent and takes_osc_52():
        return f"Copied by the terminal: {what}."
    kept = None
    if folder is not None:
        with contextlib.suppress(OSError):
            kept = await asyncio.to_thread(_save, clean, folder)
    if sent:
        also = f", and saved in {kept}" if kept else ", which may not take it"
        return f"Sent to the terminal's clipboard (OSC 52){also}: {what}."
    if kept:
        return f"Too long for the terminal's clipboard: {what} saved in {kept}."
    return f"Not copied: {what} is too long for the terminal's clipboard, and no file can be written."


def _in_words(text: str) -> str:
    lines = text.count("\n") + 1
    if lines == 1:
        return f"“{text}”" if len(text) <= SHORT else plural(len(text), "character")
    return plural(lines, "line")


def _save(text: str, folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / FILE_NAME
    write_atomic(file, text.encode("utf-8", "replace"), durable=False)
    return file


async def _run(command: tuple[str, ...], text: str) -> bool:
    """Whether the program took the text in time. It may stay in the background, to answer those who paste."""
    nothing = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=nothing, stderr=nothing, start_new_session=True
        )
    except OSError:
        return False
    try:
        await asyncio.wait_for(process.communicate(text.encode("utf-8", "replace")), PROGRAM_TIMEOUT)
    except (TimeoutError, OSError):
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        return False
    return process.returncode == 0
