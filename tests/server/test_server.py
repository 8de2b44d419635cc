"""How `llmtui serve` starts and ends."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

from core.runs.directory import Run
from core.storage.workspace import Workspace
from tests.byte_models import run_with_checkpoints
from tests.cli_runs import spawn
from tests.server.serving import ENDLESS, TOKEN, Served
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.heavy


def test_ctrl_c_during_a_response_stops_the_server(server_workspace: Workspace, bot: Run) -> None:
    import openai
    import psutil

    served = Served(server_workspace, bot.id)
    client = served.client()
    assert {model.id.partition("@")[0] for model in client.models.list()} == {bot.id}
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="plain", prompt="x")
    stream = client.completions.create(model="bot", prompt="x", max_tokens=ENDLESS, stream=True)
    next(stream)
    [sampler] = psutil.Process(served.process.pid).children()
    served.process.send_signal(signal.SIGINT)
    with pytest.raises(openai.APIError, match="the server is shutting down"):
        list(stream)
    assert served.process.wait(timeout=PATIENCE) == 130
    wait_for(lambda: not sampler.is_running())


def test_a_random_token_is_printed_with_a_curl_command(server_workspace: Workspace, plain: Run) -> None:
    served = Served(server_workspace, token=None)
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
def test_a_given_token_is_not_printed(server_workspace: Workspace, environment: bool) -> None:
    given = {"LLMTUI_TOKEN": TOKEN} if environment else {}
    options = [] if environment else ["--token", TOKEN]
    process = spawn("serve", "--port", "0", *options, LLMTUI_HOME=str(server_workspace.home), **given)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    process.kill()
    process.communicate()
    key = "$LLMTUI_TOKEN" if environment else "YOUR-TOKEN"
    assert lines[1] == f'export OPENAI_API_KEY="{key}"\n'
    assert f'"authorization: Bearer {key}"' in lines[2]
    assert TOKEN not in "".join(lines) and "$OPENAI_API_KEY" not in lines[2]


def test_a_name_selects_the_newest_of_the_served_runs(server_workspace: Workspace) -> None:
    import openai

    old = run_with_checkpoints(server_workspace, 100, name="books")
    newer = run_with_checkpoints(server_workspace, 100, name="books")
    served = Served(server_workspace, old.id)
    assert served.client().models.retrieve("books").id == "books"
    assert served.client().completions.create(model="books", prompt="x", max_tokens=1).model == f"{old.id}@100"
    with pytest.raises(openai.NotFoundError):
        served.client().models.retrieve(newer.id)
    served.end()
    for run in (old, newer):
        run.remove()


def test_a_run_without_checkpoints_does_not_shadow_an_older_one_of_its_name(
    served: Served, server_workspace: Workspace
) -> None:
    old = run_with_checkpoints(server_workspace, 100, name="twice")
    newer = run_with_checkpoints(server_workspace, name="twice")
    assert served.client().completions.create(model="twice", prompt="x", max_tokens=1).model == f"{old.id}@100"
    for run in (old, newer):
        run.remove()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--host", "no.such.host.invalid"], 1, "unknown host"),
        (["--host", "192.0.2.1"], 1, "cannot assign requested address"),
        (["--token", "short"], 2, "8 to 512"),
        (["--token", "has spaces in it"], 2, "without spaces"),
        (["nosuchrun"], 2, "there is no run 'nosuchrun'"),
    ],
)
def test_invalid_arguments_are_reported_without_a_traceback(
    server_workspace: Workspace, plain: Run, arguments: list[str], code: int, message: str
) -> None:
    process = spawn("serve", "--port", "0", *arguments, LLMTUI_HOME=str(server_workspace.home))
    output = process.communicate(timeout=PATIENCE)
    assert process.returncode == code and message in output[1] and output[0] == ""


def test_a_port_in_use_is_reported_without_a_traceback(server_workspace: Workspace, served: Served) -> None:
    process = spawn("serve", "--port", str(served.port), LLMTUI_HOME=str(server_workspace.home))
    output = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1 and "address already in use" in output[1] and output[0] == ""
