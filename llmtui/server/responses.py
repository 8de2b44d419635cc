"""Responses in the format of OpenAI's API: completions and chat completions, whole or as server-sent events."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from core.errors import LlmtuiError
from llmtui.server.errors import ApiError
from llmtui.server.generation import ChoiceDelta, GenerationJob

DONE = b"data: [DONE]\n\n"


class ResponseWriter:
    """Formats the texts of one job."""

    def __init__(self, job: GenerationJob, *, chat: bool, include_usage: bool = False) -> None:
        """include_usage: the last event of a stream has the usage, the others have null."""
        self._job, self._chat, self._include_usage = job, chat, include_usage
        self._common = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": job.model.id_with_step,
        }

    async def complete(self, deltas: AsyncGenerator[ChoiceDelta, None]) -> bytes:
        """All texts in one JSON object."""
        texts: dict[int, list[str]] = {}
        reasons: dict[int, str | None] = {}
        async with aclosing(deltas):
            async for delta in deltas:
                texts.setdefault(delta.choice, []).append(delta.text)
                reasons[delta.choice] = delta.finish_reason
        choices = [self._choice(index, "".join(parts), reasons[index]) for index, parts in sorted(texts.items())]
        kind = "chat.completion" if self._chat else "text_completion"
        return msgspec.json.encode(self._common | {"object": kind, "choices": choices, "usage": self._job.usage()})

    async def events(
        self, first: ChoiceDelta, deltas: AsyncGenerator[ChoiceDelta, None]
    ) -> AsyncGenerator[bytes, None]:
        """A server-sent event per delta; an error on the way is an event, too."""
        started: set[int] = set()
        try:
            async with aclosing(deltas):
                yield self._event([self._choice_delta(first, started)])
                async for delta in deltas:
                    yield self._event([self._choice_delta(delta, started)])
            if self._include_usage:
                yield self._event([], self._job.usage())
            yield DONE
        except (LlmtuiError, ApiError) as error:
            yield b"data: " + ApiError.of(error).body() + b"\n\n"

    def _event(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        chunk = self._common | {"object": kind, "choices": choices}
        if self._include_usage:
            chunk["usage"] = usage
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n"

    def _choice(self, index: int, text: str, finish_reason: str | None) -> dict[str, Any]:
        content = {"message": {"role": "assistant", "content": text, "refusal": None}} if self._chat else {"text": text}
        return {"index": index, **content, "logprobs": None, "finish_reason": finish_reason}

    def _choice_delta(self, delta: ChoiceDelta, started: set[int]) -> dict[str, Any]:
        content: dict[str, Any] = {"text": delta.text}
        if self._chat:
            part = {"content": delta.text} if delta.text or delta.choice not in started else {}
            content = {"delta": part if delta.choice in started else {"role": "assistant"} | part}
        started.add(delta.choice)
        return {"index": delta.choice, **content, "logprobs": None, "finish_reason": delta.finish_reason}
