"""What the Chat screen keeps of each run between two sessions: what is being typed and how it generates."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from core.parsing import ParseError, read_json
from core.storage.files import write_atomic

_NAME = "draft.json"
"""In the run's directory of transcripts."""


class ChatState(Struct, frozen=True, kw_only=True):
    """The state of the chat with one run."""

    draft: str = ""
    """The prompt that is not sent yet."""
    settings: dict[str, Any] = {}
    """Settings of the sampler that differ from the recipe's, by name."""
    comparing: bool = False
    """Whether another checkpoint answers beside the chosen one."""
    compared_run: str = ""
    """Id of the run of that checkpoint, also while none does."""
    compared_checkpoint: str = ""
    """Its name; empty: the newest of that run."""


def load_chat_state(run: Path) -> ChatState:
    """The state saved in the run's directory; the default one if there is none or it is damaged."""
    with contextlib.suppress(OSError, ParseError):
        return read_json(run / "transcripts" / _NAME, ChatState)
    return ChatState()


def save_chat_state(run: Path, state: ChatState) -> None:
    """Save `state`. A deleted run or a full disk only means that it is not restored."""
    with contextlib.suppress(OSError):
        folder = run / "transcripts"
        folder.mkdir(mode=0o700, exist_ok=True)
        write_atomic(folder / _NAME, msgspec.json.encode(state), durable=False)
