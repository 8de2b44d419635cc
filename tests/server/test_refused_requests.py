"""What `llmtui serve` refuses, and how."""

from __future__ import annotations

import http.client
import json

import openai
import pytest

from core.checkpoints import readable_checkpoints
from core.storage.workspace import Workspace
from tests.byte_models import run_with_checkpoints
from tests.server.serving import TOKEN, Served
from tests.waiting import PATIENCE


@pytest.mark.parametrize(
    ("asked", "param", "says"),
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
def test_what_cannot_be_done_is_refused_and_names_the_field(
    client: openai.OpenAI, asked: dict[str, object], param: str | None, says: str, stream: bool
) -> None:
    usual = {"model": "bot", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**usual, extra_body=asked)  # type: ignore[call-overload]
    assert caught.value.param == param and says in caught.value.message


def test_what_asks_for_nothing_is_taken(client: openai.OpenAI) -> None:
    nothing = {"user": "me", "tools": [], "logprobs": None, "response_format": {"type": "text"}, "metadata": {"a": "b"}}
    said = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "x", "refusal": None}]
    made = client.chat.completions.create(model="bot", messages=said, extra_body=nothing)  # type: ignore[arg-type]
    assert made.choices[0].message.content


def test_token_ids_as_a_prompt_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="send the text"):
        client.completions.create(model="plain", prompt=[1, 2, 3])


def test_models_that_are_not_there_are_404_with_the_nearest_name(client: openai.OpenAI) -> None:
    for name, says in (("plan", "did you mean 'plain'?"), ("plain@7", "there is no model 'plain@7'")):
        with pytest.raises(openai.NotFoundError, match="there is no") as caught:
            client.completions.create(model=name, prompt="x")
        assert says in caught.value.message and caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("plain@7")


def test_only_who_has_the_token_is_answered(served: Served) -> None:
    for token in ("another", TOKEN[:-1], TOKEN + "s"):
        with pytest.raises(openai.AuthenticationError):
            served.client(token).models.list()
    assert served.ask("GET", "/v1/models", authorization="")[0] == 401
    assert served.ask("GET", "/v1/models", authorization=f"Basic {TOKEN}")[0] == 401


def test_names_that_a_foreign_page_can_bring_along_are_refused(served: Served) -> None:
    asked = {host: served.ask("GET", "/v1/models", host=host)[0] for host in ("evil.example", "127.0.0.1.evil.example")}
    assert asked == {"evil.example": 403, "127.0.0.1.evil.example": 403}
    for host in ("localhost:9999", "127.0.0.1", "[::1]:8000"):
        assert served.ask("GET", "/v1/models", host=host)[0] == 200


@pytest.mark.parametrize("body", ["", "{", "[]", "7", '"\\ud800"', "[" * 100_000, b"\xff", '{"model":"plain"}x'])
def test_broken_bodies_are_refused(served: Served, body: str | bytes) -> None:
    status, text = served.ask("POST", "/v1/completions", body)
    assert status == 400 and json.loads(text)["error"]["message"]


def test_large_bodies_are_refused_and_10_mb_of_prompt_are_none(served: Served) -> None:
    big = json.dumps({"model": "plain", "prompt": "x" * 10_000_000, "max_tokens": 2})
    status, text = served.ask("POST", "/v1/completions", big)
    assert status == 200 and json.loads(text)["usage"]["completion_tokens"] == 2
    assert served.ask("POST", "/v1/completions", "x" * (2**24 + 1))[0] == 413


def test_a_wrong_method_is_told_which_one_is_right(served: Served) -> None:
    line = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
    line.request("GET", "/v1/completions", headers={"authorization": f"Bearer {TOKEN}"})
    answer = line.getresponse()
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    line.close()


def test_a_checkpoint_that_cannot_be_read_is_no_fault_of_the_request(served: Served, room: Workspace) -> None:
    run = run_with_checkpoints(room, 100, name="broken")
    weights = readable_checkpoints(run.checkpoints)[0].path / "model.safetensors"
    weights.chmod(0o600)
    weights.write_bytes(b"x" * weights.stat().st_size)
    with pytest.raises(openai.InternalServerError) as caught:
        served.client().completions.create(model="broken", prompt="x")
    assert caught.value.status_code == 503 and caught.value.type == "server_error"
    run.remove()


def test_other_paths_and_methods_are_refused_in_the_same_form(served: Served) -> None:
    for method, path, status in (("GET", "/", 404), ("GET", "/v1/completions", 405), ("POST", "/v1/embeddings", 404)):
        got, text = served.ask(method, path)
        assert got == status and json.loads(text)["error"]["type"] == "invalid_request_error"
