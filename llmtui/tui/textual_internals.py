"""The private interfaces of Textual that the workbench uses; `tests/test_private_interfaces.py` checks that they exist.

Textual has no public parser of terminal input, no public name for the key of a character, and does not report how
much output waits for the terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual._xterm_parser import XTermParser
from textual._xterm_parser import _re_mouse_event as MOUSE_EVENT
from textual._xterm_parser import _re_terminal_mode_response as MODE_RESPONSE
from textual.keys import _character_to_key as key_of_character

if TYPE_CHECKING:
    from textual.driver import Driver

__all__ = ["MODE_RESPONSE", "MOUSE_EVENT", "XTermParser", "key_of_character", "output_waiting"]


def output_waiting(driver: Driver | None) -> bool:
    """Whether the terminal has not taken all that was written; False for drivers that write without a thread."""
    queue = getattr(getattr(driver, "_writer_thread", None), "_queue", None)
    return queue is not None and queue.qsize() > 0
