"""Real inference processes, and small models for them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.recipe.sampling import Sampling
from core.recipe.schema import Model
from core.runs.launch import child_environment, python_command
from core.sample.protocol import (
    AnyReply,
    AnyRequest,
    Finished,
    Generate,
    Loaded,
    Refused,
    TextDelta,
    decode_reply,
    encode,
)
from core.storage.workspace import Workspace
from tests.byte_models import save_checkpoint, save_untrained

END = 256
"""Id of the end-of-text token of the models here; the ids before it are bytes."""
ENDLESS = Sampling(tokens=1_000_000, logit_bias={END: -1000})


def save(folder: Path, seed: int = 1, width: int = 16) -> Path:
    """Save an untrained model over 256 bytes and an end-of-text token, whose text is random bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    save_untrained(folder, config(width), seed=seed)
    return folder


def saved(directory: Path, step: int, seed: int = 1) -> Path:
    """The same as a checkpoint of training, with its manifest."""
    directory.mkdir(exist_ok=True)
    return save_checkpoint(directory, step, config(), seed=seed)


def config(width: int = 16) -> Model:
    return Model(n_layer=1, n_head=2, n_embd=width, block_size=16, zero_init=False)


def endless(number: int, checkpoint: Path) -> Generate:
    """A request whose text never ends."""
    return Generate(id=number, checkpoint=str(checkpoint), prompt="a", sampling=ENDLESS)


class Child:
    """An inference process."""

    def __init__(self, workspace: Workspace, *arguments: str) -> None:
        self.process = subprocess.Popen(
            python_command("core.sample.serve", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(workspace),
        )

    def send(self, line: bytes | AnyRequest) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write((line if isinstance(line, bytes) else encode(line)) + b"\n")
        self.process.stdin.flush()

    def next(self) -> AnyReply:
        assert self.process.stdout is not None
        reply: AnyReply = decode_reply(self.process.stdout.readline())
        return reply

    def receive(self, number: int | None = None) -> list[AnyReply]:
        """Replies to request `number` until it is finished or refused; None: to any request."""
        replies: list[AnyReply] = []
        while not replies or not isinstance(replies[-1], Finished | Refused):
            reply = self.next()
            if number in (None, reply.id):
                replies.append(reply)
        return replies

    def generate(
        self, number: int, checkpoint: Path, prompt: str = "a", sampling: Sampling | None = None
    ) -> list[AnyReply]:
        """All replies to a request to generate from `prompt`, by default two tokens."""
        sampling = sampling or Sampling(tokens=2)
        self.send(Generate(id=number, checkpoint=str(checkpoint), prompt=prompt, sampling=sampling))
        return self.receive(number)

    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096


@contextmanager
def serving(workspace: Workspace, *arguments: str) -> Iterator[Child]:
    child = Child(workspace, *arguments)
    try:
        yield child
    finally:
        child.process.kill()
        child.process.wait()
        for stream in (child.process.stdin, child.process.stdout, child.process.stderr):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()


def text(replies: list[AnyReply]) -> str:
    return "".join(reply.text for reply in replies if isinstance(reply, TextDelta))


def loaded(replies: list[AnyReply]) -> Loaded:
    """The first reply to a request that was finished."""
    assert isinstance(replies[-1], Finished), replies[-1]
    assert isinstance(replies[0], Loaded)
    return replies[0]


def refused(replies: list[AnyReply]) -> Refused:
    assert isinstance(replies[-1], Refused), replies[-1]
    return replies[-1]
