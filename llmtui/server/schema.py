"""What is asked: the bodies of requests. What OpenAI defines and this cannot do is refused by name, never ignored."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from core.errors import did_you_mean
from core.parsing import ParseError, parse_json
from core.plural import many
from core.sample.conversation import Message
from llmtui.server.errors import ApiError

MOST_TEXTS = 64
"""That a request may ask for, over all prompts: as many as the inference process generates at once."""


class StreamOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    include_usage: bool | None = False
    include_obfuscation: bool | None = False
    """Padding against whoever counts bytes on the line; there is none here."""
    continuous_usage_stats: Literal[False] | None = False
    """vLLM's: the usage in every piece."""


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
    content: str | tuple[Part, ...] | None = None
    """None: an assistant said nothing, as beside a call of tools."""

    def __post_init__(self) -> None:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"the content of a {self.role}'s turn is missing")

    def message(self) -> Message:
        content = self.content or ""
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return Message(role="system" if self.role == "developer" else self.role, text=text)


class ChatCompletion(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    messages: Annotated[tuple[Turn, ...], Meta(min_length=1)]
    max_completion_tokens: int | None = None


_ANYWAY = {
    *("user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
    *("service_tier", "store", "prediction"),
    # of LiteLLM, Open WebUI, llama.cpp, Ollama and vLLM
    *("litellm_metadata", "litellm_call_id", "drop_params", "chat_id", "session_id", "request_id", "user_id"),
    *("cache_prompt", "id_slot", "slot_id", "keep_alive", "timeout", "priority", "background_tasks"),
}
"""Say who asks, how it is paid for, kept or made faster, and nothing about the text."""
_WITHOUT_TOOLS = {"tool_choice", "parallel_tool_calls", "function_call"}
"""Say how tools are called, and nothing where there are none."""
_ABOUT_TURNS = {
    *("name", "id", "model", "timestamp", "created_at", "weight", "prefix", "cache_control"),
    *("reasoning", "reasoning_content", "thinking_blocks", "provider_specific_fields", "annotations"),
}
"""What clients write beside a turn: whose it was, and what they themselves made of it."""

_NOT_HERE = {
    Completion: {"logprobs", "best_of"},
    ChatCompletion: {
        *("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format"),
        *("logprobs", "top_logprobs", "audio", "modalities", "moderation", "reasoning_effort"),
        *("verbosity", "web_search_options"),
    },
    Turn: {"tool_calls", "tool_call_id", "function_call", "audio", "refusal"},
    Part: set[str](),
}
_AS_IF_ABSENT = {
    "response_format": {"type": "text"},
    "tool_choice": "none",
    "function_call": "none",
    "modalities": ["text"],
    "best_of": 1,
    "reasoning_effort": "none",
    "top_logprobs": 0,
}
"""Values of what is not here that ask for nothing."""

Body = TypeVar("Body", Completion, ChatCompletion)


def parse(raw: bytes, kind: type[Body], ignored: Callable[[str], None] = lambda name: None) -> Body:
    """The request in `raw`. ignored: told the name of each field that changes nothing here.

    Raises ApiError, which names the field.
    """
    try:
        said = parse_json(raw, object)
    except ParseError as error:
        raise ApiError(400, f"the body is no JSON: {error}") from None
    if not isinstance(said, dict):
        raise ApiError(400, "the body is no JSON object")
    harmless = set(_ANYWAY)
    if said.get("tool_choice") == "none" or said.get("function_call") == "none":
        harmless |= {"tools", "functions"}  # they are there, but must not be called
    if not said.get("tools") and not said.get("functions"):
        harmless |= _WITHOUT_TOOLS - {name for name in _WITHOUT_TOOLS if isinstance(said.get(name), dict)}
    said = _known(said, kind, "", harmless, ignored)
    if isinstance(turns := said.get("messages"), list):
        said["messages"] = [_turn(turn, f"messages[{number}].", ignored) for number, turn in enumerate(turns)]
    prompt = said.get("prompt")
    if isinstance(prompt, list) and any(isinstance(part, int | list) for part in prompt):
        raise ApiError(400, "prompt: token ids are not supported here; send the text", param="prompt")
    try:
        return msgspec.convert(said, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise wrong(error) from None


def _turn(said: Any, where: str, ignored: Callable[[str], None]) -> Any:
    """A turn without what changes nothing; what is none is left to whoever checks it. Raises ApiError."""
    if not isinstance(said, dict):
        return said
    turn = _known(said, Turn, where, _ABOUT_TURNS, ignored)
    if isinstance(parts := turn.get("content"), list):
        turn["content"] = [
            _known(part, Part, f"{where}content[{number}].", _ABOUT_TURNS, ignored)
            if isinstance(part, dict) and part.get("type") == "text"
            else part
            for number, part in enumerate(parts)
        ]
    return turn


def wrong(error: msgspec.ValidationError) -> ApiError:
    """What is said of a field with a wrong value."""
    what, _, place = str(error).partition(" - at ")
    found = re.search(r"\$\.?([^`]*)", place)
    param = found[1] if found and found[1] else None
    return ApiError(400, f"{param}: {what}" if param else what, param=param)


def _known(
    said: dict[str, Any], kind: type[Struct], where: str, harmless: Set[str], ignored: Callable[[str], None]
) -> dict[str, Any]:
    """`said` without what asks for nothing. Raises ApiError for what cannot be done and for what nobody knows."""
    kept, missing, unknown = {}, [], []
    for name, value in said.items():
        if name in kind.__struct_fields__:
            kept[name] = value
        elif name in harmless:
            if value is not None:
                ignored(name)
        elif name in _NOT_HERE[kind]:
            absent = value is None or value is False or value in ([], {}, "")
            if not absent and value != _AS_IF_ABSENT.get(name):
                missing.append(where + name)
        else:
            unknown.append(where + name)
    if missing:
        raise ApiError(400, f"not supported here: {', '.join(missing)}", param=missing[0], code="unsupported_parameter")
    if unknown:
        hint = did_you_mean(unknown[0].removeprefix(where), kind.__struct_fields__)
        names = ", ".join(unknown)
        raise ApiError(
            400,
            f"{'unknown field' if len(unknown) == 1 else many('unknown field')}: {names}"
            + (f"; {hint}" if hint else ""),
            param=unknown[0],
            code="unknown_parameter",
        )
    return kept
