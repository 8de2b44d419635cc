"""The sampler process: streams, cancels within a token, survives bad requests, dies with its parent."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from core.model.gpt import GPT
from core.model.weights import save_model
from core.recipe import Model
from core.runs.launch import environment, python
from core.sample.protocol import Cancel, Ended, Finished, Generate, Loaded, Refused, Replies, Text, decode_reply, encode
from core.sampling import Sampling
from core.tokenize.bpe import learn
from core.workspace import Workspace


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An untrained model of 256 bytes and an end-of-text mark: its text is noise, often no UTF-8 at all."""
    folder = tmp_path / "step-00000007"
    folder.mkdir()
    torch.manual_seed(1)
    save_model(GPT(Model(n_layer=1, n_head=2, n_embd=16, block_size=16), 257), folder)
    learn(iter(["a"]), 257).save(folder / "vocabulary.json")
    return folder


class Child:
    def __init__(self, workspace: Workspace) -> None:
        self.process = subprocess.Popen(
            python("core.sample.serve"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(workspace)
        )

    def say(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def next(self) -> Replies:
        assert self.process.stdout is not None
        reply: Replies = decode_reply(self.process.stdout.readline())
        return reply

    def answer(self) -> list[Replies]:
        """Replies up to the last one to a request."""
        replies = [self.next()]
        while not isinstance(replies[-1], Finished | Refused):
            replies.append(self.next())
        return replies


@pytest.fixture
def child(workspace: Workspace) -> Iterator[Child]:
    child = Child(workspace)
    yield child
    child.process.kill()
    child.process.wait()


def text(replies: list[Replies]) -> str:
    return "".join(reply.text for reply in replies if isinstance(reply, Text))


def test_it_streams_whole_characters_and_repeats_itself_for_a_seed(child: Child, checkpoint: Path) -> None:
    child.say(encode(Generate(id=1, checkpoint=str(checkpoint), prompt="ab", sampling=Sampling(tokens=30, seed=5))))
    first = child.answer()
    assert isinstance(first[0], Loaded)
    assert (first[0].step, first[0].prompt_tokens) == (7, 2)
    last = first[-1]
    assert isinstance(last, Finished)
    ended = first[-2]
    assert isinstance(ended, Ended)
    assert ended.reason in ("length", "end")
    assert ended.tokens == last.tokens <= 30
    assert len(first) > 3
    child.say(encode(Generate(id=2, checkpoint=str(checkpoint), prompt="ab", sampling=Sampling(tokens=30, seed=5))))
    assert text(child.answer()) == text(first) != ""


def test_a_prompt_longer_than_the_context_says_what_was_dropped_and_an_empty_one_is_fine(
    child: Child, checkpoint: Path
) -> None:
    child.say(encode(Generate(id=1, checkpoint=str(checkpoint), prompt="x" * 20, sampling=Sampling(tokens=1))))
    loaded = child.answer()[0]
    assert isinstance(loaded, Loaded)
    assert (loaded.prompt_tokens, loaded.dropped_tokens) == (20, 4)
    child.say(encode(Generate(id=2, checkpoint=str(checkpoint), prompt="", sampling=Sampling(tokens=1))))
    assert isinstance(child.answer()[-1], Finished)


def test_a_cancel_overtakes_the_answer(child: Child, checkpoint: Path) -> None:
    child.say(
        encode(
            Generate(
                id=1,
                checkpoint=str(checkpoint),
                prompt="a",
                sampling=Sampling(tokens=1_000_000, top_k=1, logit_bias={256: -1000}),
            )
        )
    )
    assert isinstance(child.next(), Loaded)
    child.say(encode(Cancel(id=1)))
    last = child.answer()[-1]
    assert isinstance(last, Finished)
    assert last.cancelled


def test_bad_requests_are_answered_and_the_next_good_one_too(child: Child, checkpoint: Path, tmp_path: Path) -> None:
    torn = tmp_path / "step-00000009"
    shutil.copytree(checkpoint, torn)
    (torn / "model.safetensors").write_bytes(b"torn")
    bad = [
        b"no json",
        b'{"type":"generate","id":2}',
        encode(Generate(id=3, checkpoint=str(tmp_path / "absent"), prompt="")),
        encode(Generate(id=4, checkpoint=str(torn), prompt="")),
        b'{"type":"generate","id":5,"checkpoint":"x","prompt":"","sampling":{"temperature":-1}}',
    ]
    for line in bad:
        child.say(line)
        reply = child.next()
        assert isinstance(reply, Refused)
        assert reply.what
    child.say(encode(Generate(id=9, checkpoint=str(checkpoint), prompt="a", sampling=Sampling(tokens=2))))
    assert isinstance(child.answer()[-1], Finished)


def test_it_ends_when_its_parent_does(workspace: Workspace, tmp_path: Path) -> None:
    code = """
import subprocess, sys
from core.runs.launch import environment, python
from core.workspace import Workspace
child = subprocess.Popen(python("core.sample.serve"), stdin=subprocess.PIPE, env=environment(Workspace()))
print(child.pid, flush=True)
sys.stdin.read()
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    parent.kill()
    # the child inherited the pipe: it closes when both are gone
    parent.stdout.read()
    parent.wait()
