"""What is asked: the bodies of requests. What OpenAI defines and this cannot do is refused by name, never ignored."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from core.parsing import Malformed, parse_json
from core.plural import many
from core.sample.conversation import Message
from core.trouble import nearest
from llmtui.serve.refusal import Refusal

MOST_TEXTS = 64
"""That a request may ask for, over all prompts: as many as the sampler draws at once."""


class StreamOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    include_usage: bool | None = False
    include_obfuscation: bool | None = False
    """Padding against whoever counts bytes on the line; there is none here."""


class Asked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What both kinds of requests say. What is left out is as in the run's recipe, but for the seed."""

    model: str
    n: Annotated[int, Meta(ge=1, le=MOST_TEXTS)] | None = 1
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    stop: str | tuple[str, ...] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    logit_bias: dict[int, float] | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    # not OpenAI's: `extra_body` of its client sends them
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None


class Completion(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    prompt: str | Annotated[tuple[str, ...], Meta(min_length=1, max_length=MOST_TEXTS)] | None = ""
    echo: bool | None = False
    suffix: str | None = None
    """What follows the text: only masked models fill a middle."""


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: Literal["text"]
    text: str


class Turn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[Part, ...]

    def message(self) -> Message:
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message(role="system" if self.role == "developer" else self.role, text=text)


class ChatCompletion(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    messages: Annotated[tuple[Turn, ...], Meta(min_length=1)]
    max_completion_tokens: int | None = None


_MEANINGLESS = {
    *("user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
    "service_tier",
}
"""Say who asks or how it is paid for, and nothing about the text."""

_NOT_HERE = {
    Completion: {"logprobs", "best_of"},
    ChatCompletion: {
        *("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format"),
        *("logprobs", "top_logprobs", "audio", "modalities", "moderation", "prediction", "reasoning_effort"),
        *("store", "verbosity", "web_search_options"),
    },
    Turn: {"name", "tool_calls", "tool_call_id", "function_call", "audio", "refusal", "annotations"},
}
_AS_IF_ABSENT = {"response_format": {"type": "text"}, "tool_choice": "none", "modalities": ["text"], "best_of": 1}
"""Values of what is not here that ask for nothing."""

Body = TypeVar("Body", Completion, ChatCompletion)


def parse(raw: bytes, kind: type[Body]) -> Body:
    """The request in `raw`. Raises Refusal, which names the field."""
    try:
        said = parse_json(raw, object)
    except Malformed as error:
        raise Refusal(400, f"the body is no JSON: {error}") from None
    if not isinstance(said, dict):
        raise Refusal(400, "the body is no JSON object")
    said = _known(said, kind, "")
    if isinstance(turns := said.get("messages"), list):
        said["messages"] = [
            _known(turn, Turn, f"messages[{number}].") if isinstance(turn, dict) else turn
            for number, turn in enumerate(turns)
        ]
    prompt = said.get("prompt")
    if isinstance(prompt, list) and any(isinstance(part, int | list) for part in prompt):
        raise Refusal(400, "prompt: token ids are not supported here; send the text", param="prompt")
    try:
        return msgspec.convert(said, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise wrong(error) from None


def wrong(error: msgspec.ValidationError) -> Refusal:
    """What is said of a field with a wrong value."""
    what, _, place = str(error).partition(" - at ")
    found = re.search(r"\$\.?([^`]*)", place)
    param = found[1] if found and found[1] else None
    return Refusal(400, f"{param}: {what}" if param else what, param=param)


def _known(said: dict[str, Any], kind: type[Struct], where: str) -> dict[str, Any]:
    """`said` without what asks for nothing. Raises Refusal for what cannot be done and for what nobody knows."""
    kept, missing, unknown = {}, [], []
    for name, value in said.items():
        if name in kind.__struct_fields__:
            kept[name] = value
        elif name in _NOT_HERE[kind]:
            absent = value is None or value is False or value in ([], {}, "")
            if not absent and value != _AS_IF_ABSENT.get(name):
                missing.append(where + name)
        elif name not in _MEANINGLESS:
            unknown.append(where + name)
    if missing:
        raise Refusal(400, f"not supported here: {', '.join(missing)}", param=missing[0], code="unsupported_parameter")
    if unknown:
        hint = nearest(unknown[0].removeprefix(where), kind.__struct_fields__)
        names = ", ".join(unknown)
        raise Refusal(
            400,
            f"{'unknown field' if len(unknown) == 1 else many('unknown field')}: {names}"
            + (f"; {hint}" if hint else ""),
            param=unknown[0],
            code="unknown_parameter",
        )
    return kept
