"""What a request comes to: prompts, settings, and the texts that come of them piece by piece."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, structs

from core.recipe.sampling import Sampling
from core.sample.conversation import ChatPrompt, apply_chat_template
from core.sample.protocol import Generate, Loaded, TextDelta, TextEnded
from llmtui.clients.chat_session import MAX_STOP_STRINGS
from llmtui.clients.inference_client import InferenceClient
from llmtui.server.errors import ApiError
from llmtui.server.registry import Offer
from llmtui.server.schema import MOST_TEXTS, Asked, ChatCompletion, Completion, wrong

_SETTINGS = (
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias"),
    *("top_k", "min_p", "typical_p", "repetition_penalty"),
)


class Delta(NamedTuple):
    """More of one of the texts."""

    number: int
    text: str
    reason: str | None = None
    """Why it ended, as OpenAI says it, in the last one of a text; its first has none of the text yet."""


class Job(Struct, kw_only=True):
    """One request being answered."""

    offer: Offer
    prompts: list[ChatPrompt]
    sampling: Sampling
    texts: int
    """Of each prompt."""
    echo: bool = False
    suffix: str = ""
    prompt_tokens: int = 0
    tokens: int = 0
    """Drawn so far, in texts that have ended."""
    done: bool = False

    @classmethod
    def of(cls, asked: Completion | ChatCompletion, offer: Offer) -> Job:
        """Raises ApiError."""
        texts = asked.n or 1
        if isinstance(asked, ChatCompletion):
            prompts = [apply_chat_template([turn.message() for turn in asked.messages], offer.run.recipe.chat)]
            return cls(offer=offer, prompts=prompts, sampling=_sampling(asked, offer, prompts[0].stop), texts=texts)
        several = (asked.prompt or "",) if not isinstance(asked.prompt, tuple) else asked.prompt
        if len(several) * texts > MOST_TEXTS:
            raise ApiError(400, f"n: at most {MOST_TEXTS} texts at once, over all prompts", param="n")
        prompts = [ChatPrompt(prompt, (), False) for prompt in several]
        return cls(
            offer=offer,
            prompts=prompts,
            sampling=_sampling(asked, offer, ()),
            texts=texts,
            echo=bool(asked.echo),
            suffix=asked.suffix or "",
        )

    async def deltas(self, client: InferenceClient) -> AsyncGenerator[Delta, None]:
        """The texts as they come, those of one prompt together. Raises InferenceError, InferenceProcessError."""
        for number, prompt in enumerate(self.prompts):
            first = number * self.texts
            request = Generate(
                id=0,
                checkpoint=str(self.offer.checkpoint.path),
                cleaning=self.offer.run.recipe.preprocess.steps,
                prompt=prompt.prompt,
                suffix=self.suffix,
                sampling=self.sampling,
                texts=self.texts,
            )
            # held back until the first token: up to there it may still be refused
            heads = [Delta(first + index, prompt.prompt if self.echo else "") for index in range(self.texts)]
            begun: set[int] = set()
            async with aclosing(client.stream(request)) as came:
                async for reply in came:
                    if isinstance(reply, Loaded):
                        self.prompt_tokens += reply.prompt_tokens + reply.suffix_tokens
                    elif isinstance(reply, TextDelta | TextEnded):
                        for head in heads:
                            yield head
                        heads = []
                    match reply:
                        case TextDelta(index=index, text=text):
                            if index not in begun:
                                text = prompt.answer_start(text)
                            if text:
                                begun.add(index)
                                yield Delta(first + index, text)
                        case TextEnded(index=index, reason=reason):
                            self.tokens += reply.tokens
                            yield Delta(first + index, "", "length" if reason == "length" else "stop")
        self.done = True

    def usage(self) -> dict[str, int]:
        total = self.prompt_tokens + self.tokens
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.tokens, "total_tokens": total}


def _sampling(asked: Asked, offer: Offer, stop: tuple[str, ...]) -> Sampling:
    """The settings: those of the recipe but for what is asked; a seed of chance where none is. Raises ApiError."""
    usual: dict[str, Any] = structs.asdict(offer.run.recipe.sample.sampling())
    given = {name: value for name in _SETTINGS if (value := getattr(asked, name)) is not None}
    newer = asked.max_completion_tokens if isinstance(asked, ChatCompletion) else None
    if (most := asked.max_tokens if newer is None else newer) is not None:
        given["tokens"] = most
    if given.get("top_p") == 0:  # none but the likeliest
        given |= {"top_p": 1.0, "top_k": 1}
    if given.get("top_k") == -1:  # as vLLM has it, where 0 is all here
        given["top_k"] = 0
    stops = (asked.stop,) if isinstance(asked.stop, str) else asked.stop
    stops = stops if stops is None else tuple(filter(None, stops))  # an empty one stops nothing
    given["stop"] = (*stop, *(usual["stop"] if stops is None else stops))
    given["seed"] = secrets.randbelow(2**31) if asked.seed is None else asked.seed % 2**62
    if len(given["stop"]) > MAX_STOP_STRINGS:
        raise ApiError(400, f"stop: at most {MAX_STOP_STRINGS - len(stop)} strings", param="stop")
    try:
        return msgspec.convert(usual | given, Sampling)
    except msgspec.ValidationError as error:
        refusal = wrong(error)
        if refusal.param == "tokens":
            refusal = ApiError(400, refusal.message.replace("tokens", "max_tokens", 1), param="max_tokens")
        raise refusal from None
