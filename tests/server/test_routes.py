"""`llmtui serve`, used through OpenAI's client."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from core.checkpoints import readable_checkpoints
from core.runs.directory import Run
from core.storage.workspace import Workspace
from tests.byte_models import LETTERS, run_with_checkpoints, save
from tests.server.serving import ENDLESS, TOKEN, Served

if TYPE_CHECKING:
    import openai


def test_models_are_runs_and_their_checkpoints(client: openai.OpenAI, plain: Run, bot: Run) -> None:
    models = {model.id: model for model in client.models.list()}
    assert set(models) == {bot.id, f"{bot.id}@100", plain.id, f"{plain.id}@200", f"{plain.id}@100"}
    assert models[plain.id].created == int(readable_checkpoints(plain.checkpoints)[-1].manifest.made_at) > 0
    assert client.models.retrieve(f"{plain.id}@100").id == f"{plain.id}@100"


def test_a_completion_has_text_finish_reason_and_usage(client: openai.OpenAI, plain: Run) -> None:
    completion = client.completions.create(model="plain", prompt="ab", seed=3, max_tokens=5)
    [choice] = completion.choices
    assert len(choice.text) == 5 and choice.finish_reason == "length"
    assert completion.model == f"{plain.id}@200"  # the newest checkpoint
    assert completion.usage and (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (2, 5)
    again = client.completions.create(model=f"{plain.id}@200", prompt="ab", seed=3, max_tokens=5)
    assert again.choices[0].text == choice.text
    greedy_texts = {
        client.completions.create(model=model, prompt="ab", temperature=0).choices[0].text
        for model in ("plain", "plain@200", "plain@100")
    }
    assert len(greedy_texts) == 2


def test_several_choices_of_several_prompts_come_in_order(client: openai.OpenAI) -> None:
    completion = client.completions.create(model="plain", prompt=["x", "y"], n=2, echo=True, seed=3, max_tokens=4)
    assert [(choice.index, choice.text[0], len(choice.text)) for choice in completion.choices] == [
        (0, "x", 5),
        (1, "x", 5),
        (2, "y", 5),
        (3, "y", 5),
    ]
    one = client.completions.create(model="plain", prompt="x", echo=True, seed=4, max_tokens=4)
    assert one.choices[0].text == completion.choices[1].text  # the seed of choice i is seed + i
    assert completion.usage and completion.usage.total_tokens == 4 * 4 + 2


def test_chat_completions_use_the_templates_and_their_stop_strings(client: openai.OpenAI) -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    completion = client.chat.completions.create(model="bot", messages=messages, max_completion_tokens=3)  # type: ignore[arg-type]
    assert completion.usage and completion.usage.prompt_tokens == len("sUser: hi\nBot:")
    assert completion.choices[0].message.role == "assistant" and len(completion.choices[0].message.content or "") == 3
    # a model that can only generate the template's stop string
    only = dict.fromkeys(map(str, LETTERS), -100) | {"10": 100}
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well"}]
    completion = client.chat.completions.create(
        model="bot",
        messages=messages,  # type: ignore[arg-type]
        logit_bias=only,
        stop=["\n"],
        max_tokens=50,
    )
    assert (completion.choices[0].finish_reason, completion.choices[0].message.content) == ("stop", "")


def test_streamed_chunks_add_up_to_the_same_texts(client: openai.OpenAI) -> None:
    request = {"model": "plain", "prompt": "ab", "seed": 5, "n": 2, "stop": ["g"], "max_tokens": 30, "echo": True}
    whole = client.completions.create(**request)  # type: ignore[call-overload]
    texts, reasons = ["", ""], ["", ""]
    for event in client.completions.create(**request, stream=True):  # type: ignore[call-overload]
        for choice in event.choices:
            texts[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason
    assert texts == [choice.text for choice in whole.choices] and all("g" not in text for text in texts)
    assert reasons == [choice.finish_reason for choice in whole.choices]


def test_a_chat_stream_begins_with_the_role_and_ends_with_the_usage(client: openai.OpenAI) -> None:
    events = list(
        client.chat.completions.create(
            model="bot",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=4,
        )
    )
    assert events[0].choices[0].delta.role == "assistant"
    assert "".join(event.choices[0].delta.content or "" for event in events if event.choices).isalpha()
    assert events[-2].choices[0].finish_reason == "length"
    assert events[-1].choices == [] and events[-1].usage and events[-1].usage.completion_tokens == 4
    assert len({event.id for event in events}) == 1


def test_defaults_are_those_of_the_recipe_with_a_random_seed(client: openai.OpenAI) -> None:
    texts = {client.completions.create(model="plain", prompt="ab").choices[0].text for _ in range(3)}
    assert len(texts) > 1 and {len(text) for text in texts} == {12}
    greedy = {client.completions.create(model="plain", prompt="ab", temperature=0).choices[0].text for _ in range(3)}
    assert len(greedy) == 1


def test_suffix_is_supported_by_masked_models_only(served: Served, server_workspace: Workspace) -> None:
    import openai

    run = run_with_checkpoints(server_workspace, 100, name="masked", objective="masked")
    completion = served.client().completions.create(model="masked", prompt="abc", suffix="xyz", max_tokens=4)
    assert len(completion.choices[0].text) == 4 and completion.usage and completion.usage.prompt_tokens == 6
    run.remove()
    with pytest.raises(openai.BadRequestError, match="mask"):
        served.client().completions.create(model="plain", prompt="abc", suffix="xyz")


def test_new_checkpoints_are_used_from_the_next_request(served: Served, server_workspace: Workspace) -> None:
    import openai

    run = run_with_checkpoints(server_workspace, 100, name="grows")
    client = served.client()
    assert client.completions.create(model="grows", prompt="").model == f"{run.id}@100"
    save(run, 300)
    assert client.completions.create(model="grows", prompt="").model == f"{run.id}@300"
    run.remove()
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="grows", prompt="")


@pytest.mark.parametrize("stream", [True, False])
def test_a_disconnected_client_aborts_generation(served: Served, stream: bool) -> None:
    body = json.dumps({"model": "bot", "prompt": "x", "max_tokens": ENDLESS, "stream": stream})
    line = socket.create_connection(("127.0.0.1", served.port))
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n"
    line.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
    if stream:
        assert b"200 OK" in line.recv(100)
    else:
        served.client().completions.create(model="bot", prompt="x")  # while the other request runs
    line.close()
    served.wait_for_line("aborted")


def test_requests_of_two_clients_are_interleaved(client: openai.OpenAI) -> None:
    long = client.completions.create(model="bot", prompt="x", max_tokens=ENDLESS, stream=True)
    next(long)
    assert client.completions.create(model="plain", prompt="y", max_tokens=5).choices[0].finish_reason == "length"
    next(long)
    long.close()


def test_request_log_lines_contain_no_control_characters(served: Served) -> None:
    served.request("GET", "/%1b%5b2J%e2%80%ae")
    line = served.wait_for_line("GET /␛")
    assert "\x1b" not in line and "\u202e" not in line and " 404" in line
