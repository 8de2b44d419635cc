"""Requests that `llmtui serve` refuses."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest

from core.checkpoints import readable_checkpoints
from core.storage.workspace import Workspace
from tests.byte_models import run_with_checkpoints
from tests.server.serving import TOKEN, Served
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    import openai


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"tools": [{"type": "function"}]}, "tools", "not supported here: tools"),
        (
            {"response_format": {"type": "json_object"}, "logprobs": True},
            "response_format",
            "response_format, logprobs",
        ),
        ({"temprature": 1}, "temprature", "did you mean 'temperature'?"),
        ({"temperature": -1}, "temperature", ">= 0.0"),
        ({"max_tokens": 0}, "max_tokens", ">= 1"),
        ({"n": 65}, "n", "<= 64"),
        ({"n": "two"}, "n", "got `str`"),
        ({"logit_bias": {"999": 1}}, None, "there is no token 999"),
        ({"logit_bias": {"a": 1}}, "logit_bias", "`int`"),
        ({"stop": ["x"] * 17}, "stop", "at most 15 strings"),
        ({"messages": []}, "messages", ">= 1"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "tool"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0]", "content of a user message is missing"),
        ({"messages": [{"role": "user", "content": "x", "nmae": "me"}]}, "messages[0].nmae", "unknown field"),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
            "messages[0].tool_calls",
            "not supported",
        ),
        ({"tools": [{"type": "function"}], "tool_choice": "auto"}, "tools", "not supported here: tools, tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice", "not supported"),
        ({"reasoning_effort": "high"}, "reasoning_effort", "not supported"),
        ({"stream_options": {"include": 1}}, "stream_options", "include"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_unsupported_and_invalid_fields_are_refused_by_name(
    client: openai.OpenAI, fields: dict[str, object], param: str | None, message: str, stream: bool
) -> None:
    import openai

    request = {"model": "bot", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**request, extra_body=fields)  # type: ignore[call-overload]
    assert caught.value.param == param and message in caught.value.message


def test_fields_without_effect_are_accepted(client: openai.OpenAI) -> None:
    no_effect: dict[str, Any] = {
        "user": "me",
        "tools": [],
        "logprobs": None,
        "response_format": {"type": "text"},
        "metadata": {"a": "b"},
    }
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "x", "refusal": None}]
    completion = client.chat.completions.create(model="bot", messages=messages, extra_body=no_effect)  # type: ignore[arg-type]
    assert completion.choices[0].message.content


def test_token_ids_as_a_prompt_are_refused(client: openai.OpenAI) -> None:
    import openai

    with pytest.raises(openai.BadRequestError, match="send the text"):
        client.completions.create(model="plain", prompt=[1, 2, 3])


def test_unknown_models_are_404_with_the_nearest_name(client: openai.OpenAI) -> None:
    import openai

    for name, message in (("plan", "did you mean 'plain'?"), ("plain@7", "there is no model 'plain@7'")):
        with pytest.raises(openai.NotFoundError, match="there is no") as caught:
            client.completions.create(model=name, prompt="x")
        assert message in caught.value.message and caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("plain@7")


def test_a_valid_token_is_required(served: Served) -> None:
    import openai

    for token in ("another", TOKEN[:-1], TOKEN + "s"):
        with pytest.raises(openai.AuthenticationError):
            served.client(token).models.list()
    assert served.request("GET", "/v1/models", authorization="")[0] == 401
    assert served.request("GET", "/v1/models", authorization=f"Basic {TOKEN}")[0] == 401


def test_foreign_host_headers_are_refused(served: Served) -> None:
    statuses = {
        host: served.request("GET", "/v1/models", host=host)[0] for host in ("evil.example", "127.0.0.1.evil.example")
    }
    assert statuses == {"evil.example": 403, "127.0.0.1.evil.example": 403}
    for host in ("localhost:9999", "127.0.0.1", "[::1]:8000"):
        assert served.request("GET", "/v1/models", host=host)[0] == 200


@pytest.mark.parametrize("body", ["", "{", "[]", "7", '"\\ud800"', "[" * 100_000, b"\xff", '{"model":"plain"}x'])
def test_malformed_bodies_are_refused(served: Served, body: str | bytes) -> None:
    status, text = served.request("POST", "/v1/completions", body)
    assert status == 400 and json.loads(text)["error"]["message"]


def test_bodies_over_16_mib_are_refused_and_10_mb_prompts_accepted(served: Served) -> None:
    big = json.dumps({"model": "plain", "prompt": "x" * 10_000_000, "max_tokens": 2})
    status, text = served.request("POST", "/v1/completions", big)
    assert status == 200 and json.loads(text)["usage"]["completion_tokens"] == 2
    assert served.request("POST", "/v1/completions", "x" * (2**24 + 1))[0] == 413


def test_a_wrong_method_is_405_with_the_allowed_one(served: Served) -> None:
    line = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
    line.request("GET", "/v1/completions", headers={"authorization": f"Bearer {TOKEN}"})
    answer = line.getresponse()
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    line.close()


def test_an_unreadable_checkpoint_is_503(served: Served, server_workspace: Workspace) -> None:
    import openai

    run = run_with_checkpoints(server_workspace, 100, name="broken")
    weights = readable_checkpoints(run.checkpoints)[0].path / "model.safetensors"
    weights.chmod(0o600)
    weights.write_bytes(b"x" * weights.stat().st_size)
    with pytest.raises(openai.InternalServerError) as caught:
        served.client().completions.create(model="broken", prompt="x")
    assert caught.value.status_code == 503 and caught.value.type == "server_error"
    run.remove()


def test_unknown_paths_and_methods_have_the_same_error_format(served: Served) -> None:
    for method, path, status in (("GET", "/", 404), ("GET", "/v1/completions", 405), ("POST", "/v1/embeddings", 404)):
        got, text = served.request(method, path)
        assert got == status and json.loads(text)["error"]["type"] == "invalid_request_error"
