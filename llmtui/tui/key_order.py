"""Keys that are typed faster than the screen follows reach the field that the key before opened."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

from textual import events
from textual.app import App
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer

HANGS_AFTER = 1.0
"""Seconds after which the next key is handled although the one before has not come back, as when its pane is gone."""

MAX_PASTED = 50_000
"""Characters of a paste that reach the field with the focus: about 10,000 tokens, more than a model of this program
reads. A text area takes 0.4 s for them, 7 s for a million."""


class KeyHandled(Message):
    """Follows a key on its way from the pane with the focus up to the application."""

    def __init__(self, number: int, screen: Screen[Any]) -> None:
        """number: of the key. screen: the one that was shown when it was pressed."""
        super().__init__()
        self.number, self.screen = number, screen


class OrderedKeys(App[None]):
    """An application that handles a key once the one before it has been handled, with what that did to the focus.

    Textual forwards each key at once to the widget that has the focus at that moment: of `/demo`, typed while the
    screen is busy, the letters would act as keys of the list instead of going to the field that `/` opens.
    """

    def __init__(self, **textual: Any) -> None:
        super().__init__(**textual)
        self._typed: deque[events.Key | events.Paste] = deque()
        """The first of them is being handled."""
        self._number = 0
        """Of the key that is being handled."""
        self._limit: Timer | None = None

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Key | events.Paste) or event.is_forwarded:
            await super().on_event(event)
            return
        if isinstance(event, events.Paste) and len(event.text) > MAX_PASTED:
            self.paste_shortened(len(event.text))
            event = events.Paste(event.text[:MAX_PASTED])
        self._typed.append(event)
        if len(self._typed) == 1:
            await self._handle_first()

    def paste_shortened(self, characters: int) -> None:
        """Called when only the first `MAX_PASTED` of so many characters are pasted."""

    async def _handle_first(self) -> None:
        if not self.screen_stack:  # the application ends
            return
        number, screen = self._number, self.screen
        target = self.focused or screen
        await super().on_event(self._typed[0])
        if target.post_message(KeyHandled(number, screen)):
            self._limit = self.set_timer(HANGS_AFTER, partial(self._end, number))
        else:
            self.call_later(self._end, number)

    def on_key_handled(self, message: KeyHandled) -> None:
        """Textual moves the focus by a message to the application; a screen that the key opened does when it starts."""
        message.stop()
        if not self.screen_stack:  # the application ends
            return
        if self.screen is message.screen or not self.screen.post_message(KeyHandled(message.number, self.screen)):
            self.call_later(self._end, message.number)

    def _end(self, number: int) -> None:
        """Continue with the next key, unless that has been done."""
        if number != self._number or not self._typed:
            return
        if self._limit is not None:
            self._limit.stop()
        self._typed.popleft()
        self._number += 1
        if self._typed:
            self.call_later(self._handle_first)
