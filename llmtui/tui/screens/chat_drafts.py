"""The state of the chats with all runs: read when a run is first shown, saved in a thread after changes."""

from __future__ import annotations

import asyncio

from core.runs.chat_state import ChatState, load_chat_state, save_chat_state
from core.runs.directory import Run

_DELAY = 1.0
"""Seconds from a change of the prompt or the settings until they are saved."""


class ChatDrafts:
    """`ChatState` by run."""

    def __init__(self) -> None:
        self._states: dict[str, ChatState] = {}
        self._unsaved: dict[str, Run] = {}
        self._saving = asyncio.Lock()

    def get(self, run: Run) -> ChatState:
        """The state of the chat with `run`."""
        if run.id not in self._states:
            self._states[run.id] = load_chat_state(run.path)
        return self._states[run.id]

    def set(self, run: Run, state: ChatState) -> bool:
        """Replace the state, which `save` then saves; returns whether it changed."""
        if state == self.get(run):
            return False
        self._states[run.id], self._unsaved[run.id] = state, run
        return True

    async def save_soon(self) -> None:
        """Save what changed after a second, in which further changes may cancel this one."""
        await asyncio.sleep(_DELAY)
        await asyncio.shield(self.save())

    async def save(self) -> None:
        """Save what changed."""
        async with self._saving:
            unsaved, self._unsaved = self._unsaved, {}
            for run in unsaved.values():
                if run.path.is_dir():
                    await asyncio.to_thread(save_chat_state, run.path, self._states[run.id])
