"""From a request to prompts, settings and generated text."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, structs

from core.recipe.sampling import Sampling
from core.sample.conversation import ChatPrompt, apply_chat_template
from core.sample.protocol import MAX_TEXTS, Generate, Loaded, TextDelta, TextEnded
from llmtui.clients.chat_session import MAX_STOP_STRINGS
from llmtui.clients.inference_client import InferenceClient
from llmtui.server.errors import ApiError
from llmtui.server.registry import ServedModel
from llmtui.server.schema import (
    ChatCompletionRequest,
    CompletionRequest,
    GenerationRequest,
    SamplingFields,
    validation_error,
)


class ChoiceDelta(NamedTuple):
    """More text of one choice."""

    choice: int
    text: str
    finish_reason: str | None = None
    """As in OpenAI's API, in the last delta of a choice. The first delta has none of the generated text."""


class GenerationJob(Struct, kw_only=True):
    """One request in progress."""

    model: ServedModel
    prompts: list[ChatPrompt]
    sampling: Sampling
    n: int
    """Texts per prompt."""
    echo: bool = False
    suffix: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Of texts that have ended."""
    done: bool = False

    @classmethod
    def of(cls, request: CompletionRequest | ChatCompletionRequest, model: ServedModel) -> GenerationJob:
        """Raises ApiError."""
        n = request.n or 1
        if isinstance(request, ChatCompletionRequest):
            prompt = apply_chat_template([each.to_message() for each in request.messages], model.run.recipe.chat)
            return cls(model=model, prompts=[prompt], sampling=_sampling(request, model, prompt.stop), n=n)
        texts = request.prompt if isinstance(request.prompt, tuple) else (request.prompt or "",)
        if len(texts) * n > MAX_TEXTS:
            raise ApiError(400, f"n: at most {MAX_TEXTS} texts at once, over all prompts", param="n")
        return cls(
            model=model,
            prompts=[ChatPrompt(text, (), False) for text in texts],
            sampling=_sampling(request, model, ()),
            n=n,
            echo=bool(request.echo),
            suffix=request.suffix or "",
        )

    async def deltas(self, client: InferenceClient) -> AsyncGenerator[ChoiceDelta, None]:
        """The texts as they are generated, prompt by prompt. Raises InferenceError, InferenceProcessError."""
        for number, prompt in enumerate(self.prompts):
            offset = number * self.n
            request = Generate(
                id=0,
                checkpoint=str(self.model.checkpoint.path),
                cleaning=self.model.run.recipe.preprocess.steps,
                prompt=prompt.prompt,
                suffix=self.suffix,
                sampling=self.sampling,
                texts=self.n,
            )
            # held back until the first token: until then the request may be refused
            first_deltas = [ChoiceDelta(offset + index, prompt.prompt if self.echo else "") for index in range(self.n)]
            started: set[int] = set()
            async with aclosing(client.stream(request)) as replies:
                async for reply in replies:
                    if isinstance(reply, Loaded):
                        self.prompt_tokens += reply.prompt_tokens + reply.suffix_tokens
                    elif isinstance(reply, TextDelta | TextEnded):
                        for delta in first_deltas:
                            yield delta
                        first_deltas = []
                    match reply:
                        case TextDelta(index=index, text=text):
                            if index not in started:
                                text = prompt.answer_start(text)
                            if text:
                                started.add(index)
                                yield ChoiceDelta(offset + index, text)
                        case TextEnded(index=index, reason=reason):
                            self.completion_tokens += reply.tokens
                            yield ChoiceDelta(offset + index, "", "length" if reason == "length" else "stop")
        self.done = True

    def usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


def _sampling(request: GenerationRequest, model: ServedModel, template_stop: tuple[str, ...]) -> Sampling:
    """The recipe's settings with those of the request; without a seed, a random one. Raises ApiError.

    template_stop: stop strings of the chat template.
    """
    defaults: dict[str, Any] = structs.asdict(model.run.recipe.sample.sampling())
    given = {name: value for name in SamplingFields.__struct_fields__ if (value := getattr(request, name)) is not None}
    newer = request.max_completion_tokens if isinstance(request, ChatCompletionRequest) else None
    if (max_tokens := request.max_tokens if newer is None else newer) is not None:
        given["tokens"] = max_tokens
    if given.get("top_p") == 0:  # greedy
        given |= {"top_p": 1.0, "top_k": 1}
    if given.get("top_k") == -1:  # all tokens in vLLM, which is 0 here
        given["top_k"] = 0
    stop = (request.stop,) if isinstance(request.stop, str) else request.stop
    stop = stop if stop is None else tuple(filter(None, stop))  # an empty string would match everywhere
    given["stop"] = (*template_stop, *(defaults["stop"] if stop is None else stop))
    given["seed"] = secrets.randbelow(2**31) if request.seed is None else request.seed % 2**62
    if len(given["stop"]) > MAX_STOP_STRINGS:
        raise ApiError(400, f"stop: at most {MAX_STOP_STRINGS - len(template_stop)} strings", param="stop")
    try:
        return msgspec.convert(defaults | given, Sampling)
    except msgspec.ValidationError as error:
        api_error = validation_error(error)
        if api_error.param == "tokens":
            api_error = ApiError(400, api_error.message.replace("tokens", "max_tokens", 1), param="max_tokens")
        raise api_error from None
