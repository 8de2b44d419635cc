"""InferenceClient: concurrent requests, cancellation, and the errors of a process that fails."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from core import ROOT
from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.runs.launch import child_environment
from core.sample.protocol import AnyReply, Cancel, Generate, Loaded, TextDelta, decode_request
from core.storage.workspace import Workspace
from llmtui.clients.inference_client import (
    LOG_NAME,
    MAX_PENDING_REPLIES,
    InferenceClient,
    InferenceProcessError,
    PromptEncodingError,
    SlowConsumerError,
)
from tests.core.inference_process import saved
from tests.waiting import PATIENCE

pytestmark = pytest.mark.heavy

FAKE_PROCESS = """
import os, sys, threading, time
from core.sample.protocol import Cancel, Finished, Loaded, TextDelta, decode_request, encode

def put(line):
    sys.stdout.buffer.write(line + b"\\n")
    sys.stdout.buffer.flush()

for line in sys.stdin.buffer:
    with open(sys.argv[1], "ab") as log:
        log.write(line)
    request = decode_request(line)
    if isinstance(request, Cancel):
        continue
    put(encode(Loaded(id=request.id, checkpoint="", step=os.getpid(), prompt_tokens=1)))
    match request.prompt:
        case "die":
            print("error message", file=sys.stderr, flush=True)
            os._exit(3)
        case "close":
            os.close(1)
            time.sleep(60)
        case "torn":
            put(b'{"type":"finished","id":')
        case "long":
            sys.stdout.buffer.write(b"x" * 70_000_000)
            sys.stdout.buffer.flush()
        case "wait":
            pass
        case "flood":
            for _ in range(100_000):
                sys.stdout.buffer.write(encode(TextDelta(id=request.id, text="x")) + b"\\n")
            sys.stdout.buffer.flush()
        case prompt:
            put(encode(TextDelta(id=999, text="for no request")))
            put(encode(TextDelta(id=request.id, text=prompt + "!")))
            put(encode(Finished(id=request.id)))
"""


@pytest.fixture
def requests_file(tmp_path: Path) -> Path:
    """Gets the requests that reach the child, one per line."""
    return tmp_path / "requests_file"


Check = Callable[[Callable[[InferenceClient], Awaitable[None]]], None]


@pytest.fixture
def check(workspace: Workspace, requests_file: Path) -> Check:
    """Run a test with a client whose child needs no model; the child must be gone afterwards."""

    def run(test: Callable[[InferenceClient], Awaitable[None]]) -> None:
        async def closing() -> None:
            client = InferenceClient(workspace, [sys.executable, "-P", "-c", FAKE_PROCESS, str(requests_file)])
            try:
                await test(client)
            finally:
                await client.close()

        before = set(psutil.Process().children())
        asyncio.run(closing())
        assert not set(psutil.Process().children()) - before

    return run


def stream(client: InferenceClient, prompt: str) -> aclosing[AsyncGenerator[AnyReply]]:
    return aclosing(client.stream(Generate(id=0, checkpoint="", prompt=prompt)))


async def complete(client: InferenceClient, prompt: str) -> tuple[str, int]:
    """The text generated for `prompt`, and the PID of the process."""
    text, process = "", 0
    async with stream(client, prompt) as replies:
        async for reply in replies:
            text += reply.text if isinstance(reply, TextDelta) else ""
            process = reply.step if isinstance(reply, Loaded) else process
    return text, process


def test_concurrent_requests_each_get_their_own_replies_from_one_process(check: Check) -> None:
    async def test(client: InferenceClient) -> None:
        answers = await asyncio.gather(*(complete(client, f"number {n}") for n in range(50)))
        assert [text for text, _ in answers] == [f"number {n}!" for n in range(50)]
        assert len({process for _, process in answers}) == 1

    check(test)


@pytest.mark.parametrize(
    ("prompt", "what"),
    [
        ("die", "the inference process exited with code 3"),
        ("close", "closed its output"),
        ("torn", "sent an invalid reply"),
        ("long", "sent an invalid reply"),
    ],
)
def test_a_failing_process_fails_all_pending_requests_and_the_next_request_restarts_it(
    check: Check, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, prompt: str, what: str
) -> None:
    monkeypatch.setattr("llmtui.clients.inference_client._EXIT_TIMEOUT", 0.2)

    async def test(client: InferenceClient) -> None:
        waiting = [asyncio.create_task(complete(client, "wait")) for _ in range(2)]
        _, first = await complete(client, "hello")
        waiting.append(asyncio.create_task(complete(client, prompt)))
        for failed in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(failed, InferenceProcessError)
            assert what in failed.what
            assert failed.where == str(workspace.state / LOG_NAME)
        text, second = await complete(client, "hello")
        assert text == "hello!"
        assert second != first

    check(test)
    assert ("error message" in (workspace.state / LOG_NAME).read_text()) == (prompt == "die")


def test_a_killed_process_is_distinguished_from_one_that_exited(check: Check, requests_file: Path) -> None:
    async def test(client: InferenceClient) -> None:
        _, process = await complete(client, "hello")
        waiting = [asyncio.create_task(complete(client, "wait")) for _ in range(2)]
        while len(requests_file.read_bytes().splitlines()) < 3:  # a later request would start another process
            await asyncio.sleep(0.01)
        os.kill(process, signal.SIGKILL)
        for failed in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(failed, InferenceProcessError)
            assert "killed by SIGKILL, as the system does when memory runs out" in failed.what
        assert (await complete(client, "hello"))[0] == "hello!"

    check(test)


def test_closing_the_stream_cancels_the_request(check: Check, requests_file: Path) -> None:
    async def test(client: InferenceClient) -> None:
        async with stream(client, "wait") as replies:
            async for _ in replies:
                break
        async for _ in client.stream(Generate(id=0, checkpoint="", prompt="wait")):
            break  # without an explicit aclose()
        task = asyncio.create_task(complete(client, "wait"))
        while len(requests_file.read_bytes().splitlines()) < 5:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await complete(client, "hello")

    check(test)
    requests = [decode_request(line) for line in requests_file.read_bytes().splitlines()]
    assert sorted(request.id for request in requests if isinstance(request, Cancel)) == [1, 2, 3]


def test_a_slow_consumer_delays_no_other_request_and_is_cancelled(check: Check, requests_file: Path) -> None:
    async def test(client: InferenceClient) -> None:
        async with stream(client, "flood") as replies:
            await anext(replies)
            assert (await complete(client, "hello"))[0] == "hello!"  # sent by the child after the flood
            received = 1
            with pytest.raises(SlowConsumerError):
                async for _ in replies:
                    received += 1
            assert received == MAX_PENDING_REPLIES + 1

    check(test)
    assert b'{"type":"cancel","id":1}' in requests_file.read_bytes().splitlines()


def test_a_process_started_before_there_is_a_request_answers_the_first_one(check: Check) -> None:
    async def test(client: InferenceClient) -> None:
        before = psutil.Process().children()
        await client.start()
        [child] = [one for one in psutil.Process().children() if one not in before]
        await client.start()
        assert await complete(client, "hello") == ("hello!", child.pid)

    check(test)


def test_a_lone_surrogate_raises_prompt_encoding_error(check: Check) -> None:
    async def test(client: InferenceClient) -> None:
        with pytest.raises(PromptEncodingError):
            await complete(client, "\ud800")
        assert (await complete(client, "hello"))[0] == "hello!"

    check(test)


def test_a_process_that_cannot_be_started_raises_inference_process_error(workspace: Workspace) -> None:
    async def test() -> None:
        client = InferenceClient(workspace, ["/nowhere/to/be/found"])
        with pytest.raises(InferenceProcessError, match="cannot be started"):
            await complete(client, "hello")
        await client.close()

    asyncio.run(test())


def test_no_warnings_when_the_event_loop_ends_with_the_process_running(
    workspace: Workspace, requests_file: Path
) -> None:
    code = """
import asyncio, sys
from core.sample.protocol import Generate
from core.storage.workspace import Workspace
from llmtui.clients.inference_client import InferenceClient

async def main():
    asyncio.get_running_loop().slow_callback_duration = 600  # no report of what a busy machine makes slow
    client = InferenceClient(Workspace(), [sys.executable, "-P", "-c", sys.argv[2], sys.argv[3]])
    async for reply in client.stream(Generate(id=0, checkpoint="", prompt="hello")):
        print(type(reply).__name__)
    async for reply in client.stream(Generate(id=0, checkpoint="", prompt="wait")):
        break
    if sys.argv[1] == "close":
        await client.close()

asyncio.run(main(), debug=True)
"""
    for ending in ("close", "leave"):
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", code, ending, FAKE_PROCESS, str(requests_file)],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert (done.stdout, done.stderr, done.returncode) == ("Loaded\nTextDelta\nFinished\n", "", 0)


def test_ctrl_c_ends_the_command_and_its_child(workspace: Workspace, tiny: Callable[..., Recipe]) -> None:
    run = Run.create(workspace, tiny("sample.logit_bias={ 256 = -1000 }"))
    saved(run.checkpoints, 10)
    llmtui = [sys.executable, "-P", "-c", "from llmtui.cli.main import main; main()"]
    with subprocess.Popen(
        [*llmtui, "sample", run.id, "once", "--tokens", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # as a shell starts it, in a group of its own
        env=child_environment(workspace),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(200).startswith(b"once")
        (child,) = psutil.Process(process.pid).children()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stderr.read().strip() == b""
        assert child.wait(PATIENCE) in (0, None)
