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

ASKED = {"model": "bot", "messages": [{"role": "user", "content": "hi"}]}


def parsed(**more: object) -> tuple[ChatCompletionRequest, list[str]]:
    ignored: list[str] = []
    return parse_request(json.dumps(ASKED | more).encode(), ChatCompletionRequest, ignored.append), ignored


@pytest.mark.parametrize(
    ("said", "ignored"),
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
def test_what_changes_nothing_is_ignored_and_named(said: dict[str, object], ignored: str) -> None:
    asked, names = parsed(**said)
    assert names == ignored.split()
    assert [turn.to_message().text for turn in asked.messages] == ["hi"]


def test_turns_come_as_text_as_parts_and_as_nothing() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}]
    turns = [
        {"role": "developer", "content": parts},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": []},
        {"role": "assistant"},
        {"role": "user", "content": []},
    ]
    said = [turn.to_message() for turn in parsed(messages=turns)[0].messages]
    assert [(each.role, each.text) for each in said] == [
        ("system", "ab"),
        ("assistant", ""),
        ("assistant", ""),
        ("user", ""),
    ]


def test_settings_of_other_servers_mean_the_same_here(bot: Run) -> None:
    offer = ServedModel(id="bot", run=bot, checkpoint=readable_checkpoints(bot.checkpoints)[0])

    def sampling(**said: object) -> Sampling:
        return GenerationJob.of(parsed(**said)[0], offer).sampling

    assert (sampling(top_p=0).top_k, sampling(top_p=0).top_p) == (1, 1.0)
    assert sampling(top_k=-1).top_k == 0
    usual = sampling(stop=[]).stop
    assert sampling(stop="").stop == sampling(stop=["", ""]).stop == usual and sampling(stop=["", "x"]).stop == (
        *usual,
        "x",
    )
    with pytest.raises(ApiError, match="top_p"):
        sampling(top_p=-0.1)
