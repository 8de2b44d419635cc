"""Fields of requests, without a server."""

from __future__ import annotations

import json

import pytest

from core.checkpoints import readable_checkpoints
from core.recipe.sampling import Sampling
from core.runs.directory import Run
from llmtui.server.errors import ApiError
from llmtui.server.generation import GenerationJob
from llmtui.server.registry import ServedModel
from llmtui.server.schema import ChatCompletionRequest, parse_request

REQUEST = {"model": "bot", "messages": [{"role": "user", "content": "hi"}]}


def parsed(**more: object) -> tuple[ChatCompletionRequest, list[str]]:
    ignored: list[str] = []
    return parse_request(json.dumps(REQUEST | more).encode(), ChatCompletionRequest, ignored.append), ignored


@pytest.mark.parametrize(
    ("values", "ignored"),
    [
        (
            {"store": True, "user": "me", "metadata": {"a": "b"}, "service_tier": "auto"},
            "store user metadata service_tier",
        ),
        ({"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}, "parallel_tool_calls tool_choice"),
        ({"tools": [{"type": "function"}], "tool_choice": "none"}, "tools"),
        ({"functions": [{"name": "f"}], "function_call": "none"}, "functions"),
        ({"chat_id": "1", "session_id": "2", "litellm_call_id": "3"}, "chat_id session_id litellm_call_id"),
        ({"user": None, "store": None, "response_format": {"type": "text"}, "top_logprobs": 0}, ""),
        ({"messages": [{"role": "user", "content": "hi", "name": "me", "cache_control": {}}]}, "name cache_control"),
        ({"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": False}}, ""),
    ],
)
def test_fields_without_effect_are_ignored_and_reported(values: dict[str, object], ignored: str) -> None:
    request, names = parsed(**values)
    assert names == ignored.split()
    assert [turn.to_message().text for turn in request.messages] == ["hi"]


def test_message_content_may_be_text_parts_or_null() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}]
    turns = [
        {"role": "developer", "content": parts},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": []},
        {"role": "assistant"},
        {"role": "user", "content": []},
    ]
    messages = [turn.to_message() for turn in parsed(messages=turns)[0].messages]
    assert [(message.role, message.text) for message in messages] == [
        ("system", "ab"),
        ("assistant", ""),
        ("assistant", ""),
        ("user", ""),
    ]


def test_conventions_of_other_servers_are_understood(bot: Run) -> None:
    model = ServedModel(id="bot", run=bot, checkpoint=readable_checkpoints(bot.checkpoints)[0])

    def sampling(**values: object) -> Sampling:
        return GenerationJob.of(parsed(**values)[0], model).sampling

    assert (sampling(top_p=0).top_k, sampling(top_p=0).top_p) == (1, 1.0)
    assert sampling(top_k=-1).top_k == 0
    usual = sampling(stop=[]).stop
    assert sampling(stop="").stop == sampling(stop=["", ""]).stop == usual and sampling(stop=["", "x"]).stop == (
        *usual,
        "x",
    )
    with pytest.raises(ApiError, match="top_p"):
        sampling(top_p=-0.1)
