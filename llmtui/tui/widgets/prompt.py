"""The text area for prompts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual import events
from textual.message import Message
from textual.widgets import TextArea

_SCREEN_KEYS = ("escape", "ctrl+x", "tab", "shift+tab", "ctrl+p", "f1")
"""Some of which a text area would handle."""

_SCROLL = {"pageup": (-1, True), "pagedown": (1, True), "ctrl+up": (-1, False), "ctrl+down": (1, False)}


class PromptHistory:
    """Earlier prompts, which are recalled one after the other. What was being typed is kept at their end."""

    def __init__(self, prompts: Iterable[str] = ()) -> None:
        """prompts: the oldest first."""
        self._prompts = list(prompts)
        self._at = len(self._prompts)
        self._draft = ""

    def add(self, prompt: str) -> None:
        """Add a prompt that was sent, instead of the same one before."""
        self._prompts = [*(each for each in self._prompts if each != prompt), prompt]
        self._at, self._draft = len(self._prompts), ""

    def recall(self, step: int, current: str) -> str | None:
        """The prompt one before (-1) or after (1) the one shown; None at the ends. current: the text in the input."""
        if not 0 <= self._at + step <= len(self._prompts):
            return None
        if self._at == len(self._prompts):
            self._draft = current
        self._at += step
        return self._draft if self._at == len(self._prompts) else self._prompts[self._at]


class PromptInput(TextArea):
    """Enter sends; shift+enter, alt+enter and ctrl+j, of which every terminal can send one, start a new line.

    Up in the first line and down in the last recall earlier prompts; pgup, pgdn, ctrl+up and ctrl+down scroll what is
    above.
    """

    class Submitted(Message):
        """Posted when the user sends the text."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Scrolled(Message):
        """Posted for the keys that scroll the transcript."""

        def __init__(self, direction: int, page: bool) -> None:
            super().__init__()
            self.direction, self.page = direction, page

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(show_line_numbers=False, soft_wrap=True, placeholder="type a prompt; enter sends it", **kwargs)
        self.cursor_blink = False
        self.history_of_prompts = PromptHistory()

    def replace_text(self, text: str) -> None:
        """Show `text`, with the cursor at its end."""
        self.text = text
        self.move_cursor(self.document.end)

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            self.post_message(self.Submitted(self.text))
        elif event.key in ("shift+enter", "alt+enter", "ctrl+j"):
            self.insert("\n")
        elif event.key in _SCROLL:
            self.post_message(self.Scrolled(*_SCROLL[event.key]))
        elif event.key in _SCREEN_KEYS:
            return
        elif not self._recall(event.key):
            await super()._on_key(event)
            return
        event.stop()
        event.prevent_default()

    def _recall(self, key: str) -> bool:
        """Whether `key` leaves the text at its first or last line, and an earlier or later prompt is shown for it."""
        row = self.wrapped_document.location_to_offset(self.cursor_location).y
        step = -1 if key == "up" and row == 0 else 1 if key == "down" and row == self.wrapped_document.height - 1 else 0
        prompt = self.history_of_prompts.recall(step, self.text) if step else None
        if prompt is not None:
            self.replace_text(prompt)
        return prompt is not None
