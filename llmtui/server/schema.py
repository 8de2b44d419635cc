"""Bodies of requests. Fields of OpenAI's API that are not supported are refused by name, never ignored."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_origin

import msgspec
from msgspec import Meta, Struct

from core.errors import did_you_mean
from core.parsing import ParseError, parse_json
from core.plural import many
from core.recipe.sampling import sampling_fields
from core.sample.conversation import Message
from core.sample.protocol import MAX_TEXTS
from llmtui.server.errors import ApiError


class StreamOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    include_usage: bool | None = False
    include_obfuscation: bool | None = False
    """Padding against traffic analysis; not implemented, and accepted without effect."""
    continuous_usage_stats: Literal[False] | None = False
    """vLLM's: the usage in every event."""


if TYPE_CHECKING:

    class SamplingFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """The fields of `Sampling` that requests have under the same name, each optional and without bounds: those are
        checked when a `Sampling` is made of them."""

else:
    SamplingFields = msgspec.defstruct(
        "SamplingFields",
        [
            (field.name, dict[int, float] | None if get_origin(field.type) is dict else field.type | None, None)
            for field in sampling_fields()
            if field.http == field.name and field.name not in ("seed", "stop")
        ],
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


class GenerationRequest(SamplingFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields of both kinds of requests. The run's recipe has the defaults, except for the seed."""

    model: str
    n: Annotated[int, Meta(ge=1, le=MAX_TEXTS)] | None = 1
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    stop: str | tuple[str, ...] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None


class CompletionRequest(GenerationRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    prompt: str | Annotated[tuple[str, ...], Meta(min_length=1, max_length=MAX_TEXTS)] | None = ""
    echo: bool | None = False
    suffix: str | None = None
    """Text after the generated part (infilling): masked models only."""


class TextPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: Literal["text"]
    text: str


class ChatMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[TextPart, ...] | None = None
    """None: an empty message of the assistant, as with a tool call."""

    def __post_init__(self) -> None:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"the content of a {self.role} message is missing")

    def to_message(self) -> Message:
        content = self.content or ""
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return Message(role="system" if self.role == "developer" else self.role, text=text)


class ChatCompletionRequest(GenerationRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    messages: Annotated[tuple[ChatMessage, ...], Meta(min_length=1)]
    max_completion_tokens: int | None = None


_IGNORED = {
    *("user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
    *("service_tier", "store", "prediction"),
    # of LiteLLM, Open WebUI, llama.cpp, Ollama and vLLM
    *("litellm_metadata", "litellm_call_id", "drop_params", "chat_id", "session_id", "request_id", "user_id"),
    *("cache_prompt", "id_slot", "slot_id", "keep_alive", "timeout", "priority", "background_tasks"),
}
"""About accounting, storage, caching and speed: without effect on the text."""
_IGNORED_WITHOUT_TOOLS = {"tool_choice", "parallel_tool_calls", "function_call"}
"""How tools are called; without effect if there are none."""
_IGNORED_IN_MESSAGES = {
    *("name", "id", "model", "timestamp", "created_at", "weight", "prefix", "cache_control"),
    *("reasoning", "reasoning_content", "thinking_blocks", "provider_specific_fields", "annotations"),
}
"""Metadata that clients store with a message."""

_UNSUPPORTED = {
    CompletionRequest: {"logprobs", "best_of"},
    ChatCompletionRequest: {
        *("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format"),
        *("logprobs", "top_logprobs", "audio", "modalities", "moderation", "reasoning_effort"),
        *("verbosity", "web_search_options"),
    },
    ChatMessage: {"tool_calls", "tool_call_id", "function_call", "audio", "refusal"},
    TextPart: set[str](),
}
_SAME_AS_ABSENT = {
    "response_format": {"type": "text"},
    "tool_choice": "none",
    "function_call": "none",
    "modalities": ["text"],
    "best_of": 1,
    "reasoning_effort": "none",
    "top_logprobs": 0,
}
"""Values of unsupported fields that request nothing."""

RequestT = TypeVar("RequestT", CompletionRequest, ChatCompletionRequest)


def parse_request(raw: bytes, kind: type[RequestT], on_ignored: Callable[[str], None] = lambda name: None) -> RequestT:
    """The request in the body `raw`. on_ignored: called with the name of each field without effect.

    Raises ApiError with the name of the field.
    """
    try:
        body = parse_json(raw, object)
    except ParseError as error:
        raise ApiError(400, f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise ApiError(400, "the body is not a JSON object")
    ignored = set(_IGNORED)
    if body.get("tool_choice") == "none" or body.get("function_call") == "none":
        ignored |= {"tools", "functions"}  # present, but must not be called
    if not body.get("tools") and not body.get("functions"):
        ignored |= _IGNORED_WITHOUT_TOOLS - {
            name for name in _IGNORED_WITHOUT_TOOLS if isinstance(body.get(name), dict)
        }
    body = _supported(body, kind, "", ignored, on_ignored)
    if isinstance(messages := body.get("messages"), list):
        body["messages"] = [
            _supported_message(message, f"messages[{index}].", on_ignored) for index, message in enumerate(messages)
        ]
    prompt = body.get("prompt")
    if isinstance(prompt, list) and any(isinstance(part, int | list) for part in prompt):
        raise ApiError(400, "prompt: token ids are not supported here; send the text", param="prompt")
    try:
        return msgspec.convert(body, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise validation_error(error) from None


def _supported_message(message: Any, path: str, on_ignored: Callable[[str], None]) -> Any:
    """A message without ignored fields; an invalid one is returned as it is. Raises ApiError."""
    if not isinstance(message, dict):
        return message
    message = _supported(message, ChatMessage, path, _IGNORED_IN_MESSAGES, on_ignored)
    if isinstance(parts := message.get("content"), list):
        message["content"] = [
            _supported(part, TextPart, f"{path}content[{index}].", _IGNORED_IN_MESSAGES, on_ignored)
            if isinstance(part, dict) and part.get("type") == "text"
            else part
            for index, part in enumerate(parts)
        ]
    return message


def validation_error(error: msgspec.ValidationError) -> ApiError:
    """The error for a field with an invalid value."""
    what, _, path = str(error).partition(" - at ")
    found = re.search(r"\$\.?([^`]*)", path)
    param = found[1] if found and found[1] else None
    return ApiError(400, f"{param}: {what}" if param else what, param=param)


def _supported(
    body: dict[str, Any], kind: type[Struct], path: str, ignored: Set[str], on_ignored: Callable[[str], None]
) -> dict[str, Any]:
    """`body` with the fields of `kind` only. Raises ApiError for unsupported and unknown ones."""
    kept, unsupported, unknown = {}, [], []
    for name, value in body.items():
        if name in kind.__struct_fields__:
            kept[name] = value
        elif name in ignored:
            if value is not None:
                on_ignored(name)
        elif name in _UNSUPPORTED[kind]:
            absent = value is None or value is False or value in ([], {}, "")
            if not absent and value != _SAME_AS_ABSENT.get(name):
                unsupported.append(path + name)
        else:
            unknown.append(path + name)
    if unsupported:
        raise ApiError(
            400, f"not supported here: {', '.join(unsupported)}", param=unsupported[0], code="unsupported_parameter"
        )
    if unknown:
        hint = did_you_mean(unknown[0].removeprefix(path), kind.__struct_fields__)
        label = "unknown field" if len(unknown) == 1 else many("unknown field")
        raise ApiError(
            400,
            f"{label}: {', '.join(unknown)}" + (f"; {hint}" if hint else ""),
            param=unknown[0],
            code="unknown_parameter",
        )
    return kept
