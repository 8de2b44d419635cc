"""The text area for prompts."""

from __future__ import annotations

from typing import Any

from textual import events
from textual.message import Message
from textual.widgets import TextArea


class PromptInput(TextArea):
    """Enter sends; shift+enter, alt+enter and ctrl+j, of which every terminal can send one, start a new line."""

    class Submitted(Message):
        """Posted when the user sends the text."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(show_line_numbers=False, soft_wrap=True, placeholder="type a prompt; enter sends it", **kwargs)
        self.cursor_blink = False

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            self.post_message(self.Submitted(self.text))
        elif event.key in ("shift+enter", "alt+enter", "ctrl+j"):
            self.insert("\n")
        elif event.key in ("escape", "ctrl+x", "tab", "shift+tab", "ctrl+p", "f1"):
            return  # keys of the screen, some of which a text area would handle
        else:
            await super()._on_key(event)
            return
        event.stop()
        event.prevent_default()
