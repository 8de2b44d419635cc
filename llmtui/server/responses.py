"""What is answered: completions and chat completions as OpenAI's clients read them, whole or as a stream of events."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from core.errors import LlmtuiError
from llmtui.server.errors import ApiError
from llmtui.server.generation import Delta, Job

DONE = b"data: [DONE]\n\n"


class Teller:
    """Puts the texts of one job into words of the interface."""

    def __init__(self, job: Job, *, chat: bool, usage: bool = False) -> None:
        """usage: a stream says at last how many tokens it took, and before that that it does not say so yet."""
        self._job, self._chat, self._usage = job, chat, usage
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": job.offer.exact,
        }

    async def whole(self, deltas: AsyncGenerator[Delta, None]) -> bytes:
        """All texts in one object."""
        texts: dict[int, list[str]] = {}
        reasons: dict[int, str | None] = {}
        async with aclosing(deltas):
            async for delta in deltas:
                texts.setdefault(delta.number, []).append(delta.text)
                reasons[delta.number] = delta.reason
        choices = [self._whole(number, "".join(pieces), reasons[number]) for number, pieces in sorted(texts.items())]
        kind = "chat.completion" if self._chat else "text_completion"
        return msgspec.json.encode(self._head | {"object": kind, "choices": choices, "usage": self._job.usage()})

    async def events(self, first: Delta, deltas: AsyncGenerator[Delta, None]) -> AsyncGenerator[bytes, None]:
        """Server-sent events, one for each piece of a text. What goes wrong on the way is one, too."""
        begun: set[int] = set()
        try:
            async with aclosing(deltas):
                yield self._event([self._piece(first, begun)])
                async for delta in deltas:
                    yield self._event([self._piece(delta, begun)])
            if self._usage:
                yield self._event([], self._job.usage())
            yield DONE
        except (LlmtuiError, ApiError) as error:
            yield b"data: " + ApiError.of(error).body() + b"\n\n"

    def _event(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
        said = self._head | {"object": "chat.completion.chunk" if self._chat else "text_completion", "choices": choices}
        if self._usage:
            said["usage"] = usage
        return b"data: " + msgspec.json.encode(said) + b"\n\n"

    def _whole(self, number: int, text: str, reason: str | None) -> dict[str, Any]:
        said = {"message": {"role": "assistant", "content": text, "refusal": None}} if self._chat else {"text": text}
        return {"index": number, **said, "logprobs": None, "finish_reason": reason}

    def _piece(self, delta: Delta, begun: set[int]) -> dict[str, Any]:
        said: dict[str, Any] = {"text": delta.text}
        if self._chat:
            part = {"content": delta.text} if delta.text or delta.number not in begun else {}
            said = {"delta": part if delta.number in begun else {"role": "assistant"} | part}
        begun.add(delta.number)
        return {"index": delta.number, **said, "logprobs": None, "finish_reason": delta.reason}
