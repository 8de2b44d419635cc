"""`llmtui serve`, asked by OpenAI's own client: what it answers, what it refuses, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

openai = pytest.importorskip("openai")

from core.checkpoints import readable_checkpoints  # noqa: E402
from core.recipe.sampling import Sampling  # noqa: E402
from core.runs.directory import Run  # noqa: E402
from core.storage.workspace import Workspace  # noqa: E402
from llmtui.server.errors import ApiError  # noqa: E402
from llmtui.server.generation import GenerationJob  # noqa: E402
from llmtui.server.registry import ServedModel  # noqa: E402
from llmtui.server.schema import ChatCompletionRequest, parse_request  # noqa: E402
from tests.speaking import LETTERS, TEMPLATES, save, speaking  # noqa: E402
from tests.test_cli import LLMTUI, ROOT, spawn  # noqa: E402
from tests.waiting import PATIENCE, wait_for  # noqa: E402

TOKEN = "a-token-for-tests"
FOREVER = 1_000_000


class Served:
    """A server process with what it says."""

    def __init__(self, workspace: Workspace, *arguments: str, token: str | None = TOKEN) -> None:
        self.process = subprocess.Popen(
            [*LLMTUI, "serve", "--port", "0", *(("--token", token) if token else ()), *arguments],
            env=os.environ | {"PYTHONPATH": str(ROOT), "LLMTUI_HOME": str(workspace.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip().removeprefix("export OPENAI_BASE_URL=")
        self.port = int(self.url.rpartition(":")[2].partition("/")[0])
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)

    def told(self, what: str) -> str:
        """Wait for a line of standard error that has `what` in it."""
        while what not in (line := self._lines.get(timeout=PATIENCE)):
            pass
        return line

    def client(self, token: str = TOKEN) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=token, max_retries=0, timeout=PATIENCE)

    def ask(self, method: str, path: str, body: str | bytes = "", **headers: str) -> tuple[int, str]:
        """A request that no well-behaved client makes."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        line.request(method, path, body, {"authorization": f"Bearer {TOKEN}"} | named)
        answer = line.getresponse()
        status, text = answer.status, answer.read().decode()
        line.close()
        return status, text

    def end(self, sig: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(sig)
        return self.process.wait(timeout=PATIENCE)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("served")).prepare()


@pytest.fixture(scope="module")
def plain(room: Workspace) -> Run:
    """Of a base model."""
    return speaking(room, 100, 200, name="plain")


@pytest.fixture(scope="module")
def bot(room: Workspace) -> Run:
    """Of a model with templates for a conversation."""
    return speaking(room, 100, name="bot", chat=TEMPLATES, context=1024)


@pytest.fixture(scope="module")
def served(room: Workspace, plain: Run, bot: Run) -> Iterator[Served]:
    served = Served(room)
    yield served
    served.process.kill()
    served.process.wait()


@pytest.fixture(scope="module")
def client(served: Served) -> openai.OpenAI:
    return served.client()


# -- what it answers ---------------------------------------------------------------------------------------------------


def test_models_are_runs_and_their_checkpoints(client: openai.OpenAI, plain: Run, bot: Run) -> None:
    models = {model.id: model for model in client.models.list()}
    assert set(models) == {bot.id, f"{bot.id}@100", plain.id, f"{plain.id}@200", f"{plain.id}@100"}
    assert models[plain.id].created == int(readable_checkpoints(plain.checkpoints)[-1].manifest.made_at) > 0
    assert client.models.retrieve(f"{plain.id}@100").id == f"{plain.id}@100"


def test_a_completion_has_the_text_its_end_and_what_it_took(client: openai.OpenAI, plain: Run) -> None:
    made = client.completions.create(model="plain", prompt="ab", seed=3, max_tokens=5)
    [choice] = made.choices
    assert len(choice.text) == 5 and choice.finish_reason == "length"
    assert made.model == f"{plain.id}@200"  # the newest, and which one that is
    assert made.usage and (made.usage.prompt_tokens, made.usage.completion_tokens) == (2, 5)
    again = client.completions.create(model=f"{plain.id}@200", prompt="ab", seed=3, max_tokens=5)
    assert again.choices[0].text == choice.text
    likeliest = {
        client.completions.create(model=model, prompt="ab", temperature=0).choices[0].text
        for model in ("plain", "plain@200", "plain@100")
    }
    assert len(likeliest) == 2


def test_several_texts_of_several_prompts_come_in_order_with_their_prompts(client: openai.OpenAI) -> None:
    made = client.completions.create(model="plain", prompt=["x", "y"], n=2, echo=True, seed=3, max_tokens=4)
    assert [(choice.index, choice.text[0], len(choice.text)) for choice in made.choices] == [
        (0, "x", 5),
        (1, "x", 5),
        (2, "y", 5),
        (3, "y", 5),
    ]
    one = client.completions.create(model="plain", prompt="x", echo=True, seed=4, max_tokens=4)
    assert one.choices[0].text == made.choices[1].text  # each with a seed of its own, one above the one before
    assert made.usage and made.usage.total_tokens == 4 * 4 + 2


def test_a_chat_is_written_by_the_templates_and_stops_where_they_say(client: openai.OpenAI) -> None:
    said = [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    made = client.chat.completions.create(model="bot", messages=said, max_completion_tokens=3)  # type: ignore[arg-type]
    assert made.usage and made.usage.prompt_tokens == len("sUser: hi\nBot:")
    assert made.choices[0].message.role == "assistant" and len(made.choices[0].message.content or "") == 3
    # a model that can only say what the template says comes next
    only = dict.fromkeys(map(str, LETTERS), -100) | {"10": 100}
    begun = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Well"}]
    made = client.chat.completions.create(
        model="bot",
        messages=begun,
        logit_bias=only,
        stop=["\n"],
        max_tokens=50,  # type: ignore[arg-type]
    )
    assert (made.choices[0].finish_reason, made.choices[0].message.content) == ("stop", "")


def test_streams_are_the_same_texts_in_pieces(client: openai.OpenAI) -> None:
    asked = {"model": "plain", "prompt": "ab", "seed": 5, "n": 2, "stop": ["g"], "max_tokens": 30, "echo": True}
    whole = client.completions.create(**asked)  # type: ignore[call-overload]
    texts, reasons = ["", ""], ["", ""]
    for event in client.completions.create(**asked, stream=True):  # type: ignore[call-overload]
        for choice in event.choices:
            texts[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason
    assert texts == [choice.text for choice in whole.choices] and all("g" not in text for text in texts)
    assert reasons == [choice.finish_reason for choice in whole.choices]


def test_a_chat_stream_begins_with_the_role_and_ends_with_the_usage_that_was_asked_for(client: openai.OpenAI) -> None:
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


def test_what_is_left_out_is_as_in_the_recipe_but_for_the_seed(client: openai.OpenAI) -> None:
    texts = {client.completions.create(model="plain", prompt="ab").choices[0].text for _ in range(3)}
    assert len(texts) > 1 and {len(text) for text in texts} == {12}
    greedy = {client.completions.create(model="plain", prompt="ab", temperature=0).choices[0].text for _ in range(3)}
    assert len(greedy) == 1


def test_a_masked_model_fills_a_middle_and_another_says_that_it_cannot(served: Served, room: Workspace) -> None:
    run = speaking(room, 100, name="masked", objective="masked")
    made = served.client().completions.create(model="masked", prompt="abc", suffix="xyz", max_tokens=4)
    assert len(made.choices[0].text) == 4 and made.usage and made.usage.prompt_tokens == 6
    run.remove()
    with pytest.raises(openai.BadRequestError, match="mask"):
        served.client().completions.create(model="plain", prompt="abc", suffix="xyz")


def test_a_checkpoint_that_training_saves_is_the_newest_from_then_on(served: Served, room: Workspace) -> None:
    run = speaking(room, 100, name="grows")
    client = served.client()
    assert client.completions.create(model="grows", prompt="").model == f"{run.id}@100"
    save(run, 300)
    assert client.completions.create(model="grows", prompt="").model == f"{run.id}@300"
    run.remove()
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="grows", prompt="")


# -- what it refuses ---------------------------------------------------------------------------------------------------


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
        ({"messages": [{"role": "user", "content": None}]}, "messages[0]", "content of a user's turn is missing"),
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
    run = speaking(room, 100, name="broken")
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


# -- clients that come and go ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_ends_its_answer(served: Served, stream: bool) -> None:
    body = json.dumps({"model": "bot", "prompt": "x", "max_tokens": FOREVER, "stream": stream})
    line = socket.create_connection(("127.0.0.1", served.port))
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n"
    line.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
    if stream:
        assert b"200 OK" in line.recv(100)
    else:
        served.client().completions.create(model="bot", prompt="x")  # the other is being answered meanwhile
    line.close()
    served.told("broken off")


def test_two_clients_are_answered_in_turns(client: openai.OpenAI) -> None:
    long = client.completions.create(model="bot", prompt="x", max_tokens=FOREVER, stream=True)
    next(long)
    assert client.completions.create(model="plain", prompt="y", max_tokens=5).choices[0].finish_reason == "length"
    next(long)
    long.close()


def test_a_line_about_each_request_shows_nothing_that_steers_a_terminal(served: Served) -> None:
    served.ask("GET", "/%1b%5b2J%e2%80%ae")
    line = served.told("GET /␛")
    assert "\x1b" not in line and "\u202e" not in line and " 404" in line


# -- beginning and end -------------------------------------------------------------------------------------------------


def test_ctrl_c_in_the_midst_of_an_answer_ends_everything(room: Workspace, bot: Run) -> None:
    import psutil

    served = Served(room, bot.id)
    client = served.client()
    assert {model.id.partition("@")[0] for model in client.models.list()} == {bot.id}
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="plain", prompt="x")
    stream = client.completions.create(model="bot", prompt="x", max_tokens=FOREVER, stream=True)
    next(stream)
    [sampler] = psutil.Process(served.process.pid).children()
    served.process.send_signal(signal.SIGINT)
    with pytest.raises(openai.APIError, match="the server is ending"):
        list(stream)
    assert served.process.wait(timeout=PATIENCE) == 130
    wait_for(lambda: not sampler.is_running())


def test_without_a_token_one_is_made_and_printed_ready_to_paste(room: Workspace, plain: Run) -> None:
    served = Served(room, token=None)
    assert served.process.stdout is not None
    token = served.process.stdout.readline().strip().removeprefix("export OPENAI_API_KEY=")
    curl = served.process.stdout.readline()
    assert len(token) >= 32 and served.client(token).models.list().data
    done = subprocess.run(["sh", "-c", curl.replace("curl", "printf '%s\\n'", 1)], capture_output=True, text=True)
    url, *_, body = done.stdout.splitlines()
    assert url == f"{served.url}/completions" and f"authorization: Bearer {token}" in done.stdout
    assert json.loads(body)["model"]
    assert served.end(signal.SIGTERM) == -signal.SIGTERM


@pytest.mark.parametrize("environment", [False, True])
def test_a_given_token_is_named_by_where_it_came_from(room: Workspace, environment: bool) -> None:
    given = {"LLMTUI_TOKEN": TOKEN} if environment else {}
    options = [] if environment else ["--token", TOKEN]
    process = spawn("serve", "--port", "0", *options, LLMTUI_HOME=str(room.home), **given)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    process.kill()
    process.communicate()
    key = "$LLMTUI_TOKEN" if environment else "YOUR-TOKEN"
    assert lines[1] == f'export OPENAI_API_KEY="{key}"\n'
    assert f'"authorization: Bearer {key}"' in lines[2]
    assert TOKEN not in "".join(lines) and "$OPENAI_API_KEY" not in lines[2]


def test_a_name_means_the_newest_run_of_those_that_are_served(room: Workspace) -> None:
    old = speaking(room, 100, name="books")
    newer = speaking(room, 100, name="books")
    served = Served(room, old.id)
    assert served.client().models.retrieve("books").id == "books"
    assert served.client().completions.create(model="books", prompt="x", max_tokens=1).model == f"{old.id}@100"
    with pytest.raises(openai.NotFoundError):
        served.client().models.retrieve(newer.id)
    served.end()
    for run in (old, newer):
        run.remove()


def test_a_run_without_checkpoints_does_not_hide_another_of_its_name(served: Served, room: Workspace) -> None:
    old = speaking(room, 100, name="twice")
    newer = speaking(room, name="twice")
    assert served.client().completions.create(model="twice", prompt="x", max_tokens=1).model == f"{old.id}@100"
    for run in (old, newer):
        run.remove()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--host", "no.such.host.invalid"], 1, "no such host"),
        (["--host", "192.0.2.1"], 1, "cannot assign requested address"),
        (["--token", "short"], 2, "8 to 512"),
        (["--token", "has spaces in it"], 2, "without spaces"),
        (["nosuchrun"], 2, "there is no run 'nosuchrun'"),
    ],
)
def test_what_it_cannot_serve_is_a_sentence(
    room: Workspace, plain: Run, arguments: list[str], code: int, says: str
) -> None:
    process = spawn("serve", "--port", "0", *arguments, LLMTUI_HOME=str(room.home))
    told = process.communicate(timeout=PATIENCE)
    assert process.returncode == code and says in told[1] and told[0] == ""


def test_a_port_in_use_is_a_sentence(room: Workspace, served: Served) -> None:
    process = spawn("serve", "--port", str(served.port), LLMTUI_HOME=str(room.home))
    told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1 and "address already in use" in told[1] and told[0] == ""


# -- what clients say beside the question, without a server ------------------------------------------------------------

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
