"""Text from checkpoints of mirrored runs, generated on their host, with a program in place of ssh."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from core import ROOT, __version__
from core.errors import LlmtuiError
from core.recipe.schema import Recipe
from core.remote.hosts import HostFile, MirroredHost
from core.runs.directory import Run
from core.runs.remote_state import (
    RemoteCheckpoint,
    RemoteState,
    describe_checkpoint,
    inference_checkpoints,
    inference_path,
    inference_paths,
    write_remote_state,
)
from core.sample.inspect_protocol import (
    AnyInspectResult,
    AttentionWeights,
    LensRow,
    LogitsMatrix,
    LogitsRow,
    ProcessorSummary,
    TokenCandidate,
    TokenInfo,
    TokenProbabilities,
)
from core.sample.protocol import Generate, Inspected, Loaded, TextDelta, TokenLosses
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from llmtui.clients.inference_client import InferenceClient
from llmtui.clients.remote_inference import RemoteInferenceError
from llmtui.clients.reply_checks import is_consistent
from tests.core.inference_process import saved
from tests.ui.fake_runs import make_checkpoint, make_run

THERE = f"{sys.executable} -P -c 'from llmtui.cli.main import main; main()'"

FAKE_HOST = """
import os, sys
from core.sample.protocol import Cancel, Finished, Loaded, TextDelta, decode_request, encode

def put(line):
    sys.stdout.buffer.write(line + b"\\n")
    sys.stdout.buffer.flush()

last = ""
for line in sys.stdin.buffer:
    request = decode_request(line)
    if isinstance(request, Cancel):
        continue
    if request.prompt == "lose" or last == "then lose":
        print("client_loop: send disconnect: Broken pipe \\033[2J", file=sys.stderr, flush=True)
        os._exit(255)
    last = request.prompt
    put(encode(Loaded(id=request.id, checkpoint=request.checkpoint, step=os.getpid(), prompt_tokens=1)))
    while request.prompt == "flood":
        put(encode(TextDelta(id=request.id, text="x" * 2**20)))
    if request.prompt == "number":
        put(b'{"type":"finished","id":%d,"tokens":1%s}' % (request.id, b"0" * 5000))
    put(encode(TextDelta(id=request.id, text=request.checkpoint)))
    put(encode(Finished(id=request.id)))
"""


def mirror(workspace: Workspace, run: Run, *steps: int) -> Run:
    """`run` as the mirror of one on gpu1, which has checkpoints of these steps."""
    (run.path / "run.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(run.file, host="gpu1")))
    known = tuple(RemoteCheckpoint(step=step, made_at=1e9, slice_loss=9.0 - step / 100) for step in steps)
    write_remote_state(run.path, RemoteState(checkpoints=known))
    return Run.open(run.path)


def add_host(workspace: Workspace, tmp_path: Path, script: str, command: str = "llmtui") -> None:
    """Make gpu1 a host that a shell script in place of ssh connects to."""
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    MirroredHost.create(workspace, "gpu1", HostFile(address="me@gpu1.lab", ssh=(str(program),), command=command))


def greeting(version: str = __version__) -> str:
    return f"echo Welcome to $1; echo llmtui inference {version}; "


def fake_host(tmp_path: Path) -> str:
    """A script that answers without a model."""
    file = tmp_path / "fake_host.py"
    file.write_text(FAKE_HOST)
    return f"{greeting()} PYTHONPATH={ROOT} exec {sys.executable} {file}"


async def answer(client: InferenceClient, checkpoint: Path, prompt: str = "hello") -> tuple[str, int]:
    """The text, and the pid of the process that wrote it."""
    text, process = "", 0
    async for reply in client.stream(Generate(id=0, checkpoint=str(checkpoint), prompt=prompt)):
        text += reply.text if isinstance(reply, TextDelta) else ""
        process = reply.step if isinstance(reply, Loaded) else process
    return text, process


def test_checkpoints_of_a_host_are_listed_until_they_are_copied(workspace: Workspace) -> None:
    run = mirror(workspace, make_run(workspace, "bard"), 10, 20)
    assert [path.relative_to(run.path).parts for path in inference_paths(run)] == [
        ("remote-checkpoints", "step-00000020"),
        ("remote-checkpoints", "step-00000010"),
    ]
    assert inference_checkpoints(run)[0].facts["slice_loss"] == 8.9
    make_checkpoint(run, 10)
    listed = inference_checkpoints(run)
    assert [checkpoint.path for checkpoint in listed] == inference_paths(run)[::-1]
    assert listed[0].path == run.checkpoints / "step-00000010" == inference_path(run, "step-00000010")
    described = describe_checkpoint(listed[0])
    assert (described.step, described.slice_loss) == (10, listed[0].facts["slice_loss"])


def test_requests_go_to_the_machine_that_has_the_checkpoint(workspace: Workspace, tmp_path: Path) -> None:
    add_host(workspace, tmp_path, fake_host(tmp_path))
    run = mirror(workspace, make_run(workspace, "bard"), 20)
    local = [sys.executable, "-P", "-c", FAKE_HOST]

    async def test() -> None:
        client = InferenceClient(workspace, ["env", f"PYTHONPATH={ROOT}", *local])
        try:
            there, far = await answer(client, inference_path(run, "step-00000020"))
            here, near = await answer(client, run.checkpoints)
            newest, again = await answer(client, inference_paths(run)[0].parent)
        finally:
            await client.close()
        assert there == f"{run.id}/checkpoints/step-00000020", "a path below the host's directory of runs"
        assert newest == f"{run.id}/checkpoints", "the host knows which one is the newest"
        assert here == str(run.checkpoints)
        assert far == again != near

    asyncio.run(test())


def test_a_lost_connection_is_named_and_made_again(workspace: Workspace, tmp_path: Path) -> None:
    add_host(workspace, tmp_path, fake_host(tmp_path))
    run = mirror(workspace, make_run(workspace, "bard"), 20)
    checkpoint = inference_path(run, "step-00000020")

    async def test() -> None:
        client = InferenceClient(workspace)
        try:
            with pytest.raises(RemoteInferenceError, match=r"me@gpu1.lab cannot be reached.*Broken pipe") as lost:
                await answer(client, checkpoint, "lose")
            assert "try again" in lost.value.todo
            _, first = await answer(client, checkpoint, "then lose")
            _, second = await answer(client, checkpoint)
            assert first != second, "a connection that was lost between two requests takes nobody's answer"
        finally:
            await client.close()

    asyncio.run(test())


@pytest.mark.parametrize(
    ("script", "what", "todo"),
    [
        (greeting("0.0.1") + "sleep 60", "gpu1 has llmtui 0.0.1", "hosts fetch"),
        ("echo 'Error: No such command infer' >&2; exit 2", "is older than", "hosts fetch"),
        ("exit 127", "there is no `llmtui` on gpu1", "hosts fetch"),
        ("echo 'x: Permission denied (publickey).' >&2; exit 255", "does not accept a key", "ssh-copy-id"),
        ("yes", "does not answer as llmtui does", "ssh me@gpu1.lab llmtui hosts infer"),
        (greeting() + "echo no JSON; sleep 60", "sent an invalid reply", "try again"),
        (greeting() + "echo out of memory >&2; exit 1", "ended with code 1 (out of memory)", "try again"),
    ],
)
def test_a_host_that_cannot_answer_says_why_and_what_to_do(
    workspace: Workspace, tmp_path: Path, script: str, what: str, todo: str
) -> None:
    add_host(workspace, tmp_path, script)
    run = mirror(workspace, make_run(workspace, "bard"), 20)

    async def test() -> None:
        client = InferenceClient(workspace)
        with pytest.raises(LlmtuiError) as failed:
            await answer(client, inference_path(run, "step-00000020"))
        await client.close()
        assert what in failed.value.what
        assert todo in failed.value.todo

    asyncio.run(test())


@pytest.mark.parametrize(
    ("prompt", "what"), [("flood", "more than 8 MiB came in reply"), ("number", "sent an invalid reply")]
)
def test_what_a_host_sends_is_bounded(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompt: str, what: str
) -> None:
    monkeypatch.setattr("llmtui.clients.inference_client.MAX_REPLY_BYTES", 2**23)
    add_host(workspace, tmp_path, fake_host(tmp_path))
    run = mirror(workspace, make_run(workspace, "bard"), 20)

    async def test() -> None:
        client = InferenceClient(workspace)
        with pytest.raises(RemoteInferenceError, match=what):
            await answer(client, inference_path(run, "step-00000020"), prompt)
        await client.close()

    asyncio.run(test())


def test_a_host_that_was_forgotten_is_missed(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    mirror(workspace, make_run(workspace, "bard"), 20)
    assert command_line(["sample", "bard", "once"]) == 2
    assert "there is no host gpu1" in capsys.readouterr().err


@pytest.mark.heavy
def test_text_is_generated_on_the_host(
    workspace: Workspace, tmp_path: Path, tiny: Callable[..., Recipe], capsys: pytest.CaptureFixture[str]
) -> None:
    far = Workspace(tmp_path / "far").prepare()
    original = Run.create(far, tiny())
    checkpoint = Artifact.open(saved(original.checkpoints, 20))
    add_host(workspace, tmp_path, f'LLMTUI_HOME="{tmp_path}/far" exec sh -c "$2"', THERE)
    run = Run(workspace.runs / original.id, original.file)
    (run.path / "checkpoints").mkdir(parents=True)
    run = mirror(workspace, run, 20)
    write_remote_state(run.path, RemoteState(checkpoints=(describe_checkpoint(checkpoint),)))
    assert command_line(["sample", run.id, "once", "--tokens", "8", "--seed", "3", "--json"]) == 0
    reply = msgspec.json.decode(capsys.readouterr().out)
    assert (reply["step"], reply["checkpoint"]) == (20, f"{run.id}/checkpoints/step-00000020")
    assert not list(run.checkpoints.iterdir()), "no weights are copied"


TOKEN = TokenInfo(1, "text", "a")
SOFTMAX = ProcessorSummary("softmax", None, 1, 0.0)
CANDIDATE = TokenCandidate(TOKEN, 1.0, (1.0,))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (TokenLosses(id=1, tokens=(TOKEN,), nats=(1.0,)), TokenLosses(id=1, tokens=(), nats=(1.0,))),
        (
            AttentionWeights(step=1, layer=1, head=1, first=1, weights=((1.0,),), before=(0.0,)),
            AttentionWeights(step=1, layer=1, head=1, first=1, weights=((-9.0,),), before=(0.0,)),
        ),
        (
            TokenProbabilities(step=1, processors=(SOFTMAX,), candidates=(CANDIDATE,)),
            TokenProbabilities(step=1, processors=(SOFTMAX, SOFTMAX), candidates=(CANDIDATE,)),
        ),
        (
            LogitsMatrix(positions=1, vocabulary=1, columns=(0,), rows=(LogitsRow(1, TOKEN, (1.0,)),)),
            LogitsMatrix(positions=1, vocabulary=1, columns=(0, 1), rows=(LogitsRow(1, TOKEN, (1.0,)),)),
        ),
        (LensRow(layer=1, first=1, predictions=(None,)), LensRow(layer=1, first=1, predictions=())),
    ],
)
def test_replies_whose_parts_do_not_fit_are_refused(
    good: TokenLosses | AnyInspectResult, bad: TokenLosses | AnyInspectResult
) -> None:
    for reply, expected in ((good, True), (bad, False)):
        assert is_consistent(reply if isinstance(reply, TokenLosses) else Inspected(id=1, result=reply)) is expected
