"""Asking the sampler process: many questions at once, and whatever becomes of it, an answer or a sentence."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import cast

import psutil
import pytest

from core import ROOT
from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.runs.launch import environment
from core.sample.protocol import Cancel, Generate, Loaded, Replies, Text, decode_request
from core.storage.workspace import Workspace
from llmtui.clients.sampler import BEHIND, InferenceProcessError, InferenceTimeoutError, PromptTextError, Sampler
from tests.core.serving import saved
from tests.waiting import PATIENCE

SPEAKER = """
import os, sys, threading, time
from core.sample.protocol import Cancel, Finished, Loaded, Text, decode_request, encode

def put(line):
    sys.stdout.buffer.write(line + b"\\n")
    sys.stdout.buffer.flush()

for line in sys.stdin.buffer:
    with open(sys.argv[1], "ab") as heard:
        heard.write(line)
    asked = decode_request(line)
    if isinstance(asked, Cancel):
        continue
    put(encode(Loaded(id=asked.id, checkpoint="", step=os.getpid(), prompt_tokens=1)))
    match asked.prompt:
        case "die":
            print("these are its last words", file=sys.stderr, flush=True)
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
                sys.stdout.buffer.write(encode(Text(id=asked.id, text="x")) + b"\\n")
            sys.stdout.buffer.flush()
        case prompt:
            put(encode(Text(id=999, text="for nobody")))
            put(encode(Text(id=asked.id, text=prompt + "!")))
            put(encode(Finished(id=asked.id)))
"""


@pytest.fixture
def heard(tmp_path: Path) -> Path:
    """The requests that have reached the child, a line each."""
    return tmp_path / "heard"


Check = Callable[[Callable[[Sampler], Awaitable[None]]], None]


@pytest.fixture
def check(workspace: Workspace, heard: Path) -> Check:
    """Run a test with a sampler whose child answers without a model; then nothing may be left of it."""

    def run(test: Callable[[Sampler], Awaitable[None]]) -> None:
        async def closing() -> None:
            sampler = Sampler(workspace, [sys.executable, "-P", "-c", SPEAKER, str(heard)])
            try:
                await test(sampler)
            finally:
                await sampler.close()

        before = psutil.Process().children()
        asyncio.run(closing())
        assert psutil.Process().children() == before

    return run


def asked(sampler: Sampler, prompt: str) -> aclosing[AsyncIterator[Replies]]:
    return aclosing(cast(AsyncIterator[Replies], sampler.ask(Generate(id=0, checkpoint="", prompt=prompt))))


async def told(sampler: Sampler, prompt: str) -> tuple[str, int]:
    """The text that answers `prompt`, and the process that did."""
    text, process = "", 0
    async with asked(sampler, prompt) as replies:
        async for reply in replies:
            text += reply.text if isinstance(reply, Text) else ""
            process = reply.step if isinstance(reply, Loaded) else process
    return text, process


def test_many_questions_at_once_get_each_its_own_answer_from_one_process(check: Check) -> None:
    async def test(sampler: Sampler) -> None:
        answers = await asyncio.gather(*(told(sampler, f"number {n}") for n in range(50)))
        assert [text for text, _ in answers] == [f"number {n}!" for n in range(50)]
        assert len({process for _, process in answers}) == 1

    check(test)


@pytest.mark.parametrize(
    ("prompt", "what"),
    [
        ("die", "the sampler process ended with code 3"),
        ("close", "closed its output"),
        ("torn", "said what is no reply"),
        ("long", "said what is no reply"),
    ],
)
def test_a_process_that_fails_fails_for_all_who_wait_and_the_next_question_starts_another(
    check: Check, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, prompt: str, what: str
) -> None:
    monkeypatch.setattr("llmtui.clients.sampler._GRACE", 0.2)

    async def test(sampler: Sampler) -> None:
        waiting = [asyncio.create_task(told(sampler, "wait")) for _ in range(2)]
        _, first = await told(sampler, "hello")
        waiting.append(asyncio.create_task(told(sampler, prompt)))
        for failed in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(failed, InferenceProcessError)
            assert what in failed.what
            assert failed.where == str(workspace.state / "sampler.log")
        text, second = await told(sampler, "hello")
        assert text == "hello!"
        assert second != first

    check(test)
    assert ("last words" in (workspace.state / "sampler.log").read_text()) == (prompt == "die")


def test_a_killed_process_is_told_from_one_that_ended(check: Check) -> None:
    async def test(sampler: Sampler) -> None:
        _, process = await told(sampler, "hello")
        waiting = [asyncio.create_task(told(sampler, "wait")) for _ in range(2)]
        await asyncio.sleep(0)
        os.kill(process, signal.SIGKILL)
        for failed in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(failed, InferenceProcessError)
            assert "ended by SIGKILL, as the system does when memory runs out" in failed.what
        assert (await told(sampler, "hello"))[0] == "hello!"

    check(test)


def test_leaving_early_cancels(check: Check, heard: Path) -> None:
    async def test(sampler: Sampler) -> None:
        async with asked(sampler, "wait") as replies:
            async for _ in replies:
                break
        async for _ in sampler.ask(Generate(id=0, checkpoint="", prompt="wait")):
            break  # not even closed by hand
        task = asyncio.create_task(told(sampler, "wait"))
        while len(heard.read_bytes().splitlines()) < 5:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await told(sampler, "hello")

    check(test)
    requests = [decode_request(line) for line in heard.read_bytes().splitlines()]
    assert sorted(request.id for request in requests if isinstance(request, Cancel)) == [1, 2, 3]


def test_whoever_does_not_read_keeps_nobody_waiting_and_takes_no_endless_memory(check: Check, heard: Path) -> None:
    async def test(sampler: Sampler) -> None:
        async with asked(sampler, "flood") as replies:
            await anext(replies)
            assert (await told(sampler, "hello"))[0] == "hello!"  # behind the flood in the child
            got = 1
            with pytest.raises(InferenceTimeoutError):
                async for _ in replies:
                    got += 1
            assert got == BEHIND + 1

    check(test)
    assert b'{"type":"cancel","id":1}' in heard.read_bytes().splitlines()


def test_half_a_character_is_refused_in_a_sentence(check: Check) -> None:
    async def test(sampler: Sampler) -> None:
        with pytest.raises(PromptTextError):
            await told(sampler, "\ud800")
        assert (await told(sampler, "hello"))[0] == "hello!"

    check(test)


def test_a_process_that_cannot_be_started_is_a_sentence(workspace: Workspace) -> None:
    async def test() -> None:
        sampler = Sampler(workspace, ["/nowhere/to/be/found"])
        with pytest.raises(InferenceProcessError, match="cannot be started"):
            await told(sampler, "hello")
        await sampler.close()

    asyncio.run(test())


def test_nothing_is_said_when_the_loop_ends_with_the_process_at_work(workspace: Workspace, heard: Path) -> None:
    code = """
import asyncio, sys
from core.sample.protocol import Generate
from core.storage.workspace import Workspace
from llmtui.clients.sampler import Sampler

async def main():
    sampler = Sampler(Workspace(), [sys.executable, "-P", "-c", sys.argv[2], sys.argv[3]])
    async for reply in sampler.ask(Generate(id=0, checkpoint="", prompt="hello")):
        print(type(reply).__name__)
    async for reply in sampler.ask(Generate(id=0, checkpoint="", prompt="wait")):
        break
    if sys.argv[1] == "close":
        await sampler.close()

asyncio.run(main(), debug=True)
"""
    for way in ("close", "leave"):
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", code, way, SPEAKER, str(heard)],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert (done.stdout, done.stderr, done.returncode) == ("Loaded\nText\nFinished\n", "", 0)


def test_an_interrupt_from_the_keyboard_ends_the_command_cleanly_and_its_child_too(
    workspace: Workspace, tiny: Callable[..., Recipe]
) -> None:
    run = Run.create(workspace, tiny("sample.logit_bias={ 256 = -1000 }"))
    saved(run.checkpoints, 10)
    llmtui = [sys.executable, "-P", "-c", "from llmtui.cli.main import main; main()"]
    with subprocess.Popen(
        [*llmtui, "sample", run.id, "once", "--tokens", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # as a shell starts it, in a group of its own
        env=environment(workspace),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(200).startswith(b"once")
        (child,) = psutil.Process(process.pid).children()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stderr.read().strip() == b""
        assert child.wait(PATIENCE) in (0, None)
