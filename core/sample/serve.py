"""The sampler process, `python -P -m core.sample.serve`: see `core.sample.protocol` for what it understands.

It is a child of whoever asks: when its standard input closes, it ends. Any bad request is answered, never fatal.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
import torch

from core.hardware import cores
from core.model.gpt import GPT
from core.model.weights import BadWeights, load_model
from core.sample.generate import Settings, generate, seen, start, text_of
from core.sample.protocol import Cancel, Finished, Generate, Loaded, Refused, Reply, Text, decode_request, encode
from core.tokenize.vocabulary import Vocabulary
from core.trouble import Trouble


class Server:
    """Answers one request after the other; the newest model stays in memory."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._requests: queue.Queue[Generate | None] = queue.Queue()
        self._cancelled: set[int] = set()
        self._loaded: tuple[tuple[str, int], GPT, Vocabulary] | None = None

    def read(self, lines: BinaryIO) -> None:
        """Take requests from `lines` until they end. Runs beside `work`, so that a cancel overtakes an answer."""
        for line in lines:
            try:
                request = decode_request(line)
            except msgspec.DecodeError as error:
                self._say(Refused(id=0, what=f"this is no request: {error}"))
                continue
            if isinstance(request, Cancel):
                self._cancelled.add(request.id)
            else:
                self._requests.put(request)
        self._requests.put(None)

    def work(self) -> None:
        """Answer until the input has ended."""
        while (request := self._requests.get()) is not None:
            try:
                self._answer(request)
            except Trouble as trouble:
                self._say(Refused(id=request.id, what=trouble.what, todo=trouble.todo))
            except (MemoryError, RuntimeError, OSError, ValueError) as error:
                self._say(Refused(id=request.id, what=f"{type(error).__name__}: {error}"))

    def _answer(self, request: Generate) -> None:
        model, vocabulary, step = self._load(Path(request.checkpoint))
        prompt = start(vocabulary, request.prompt)
        dropped = max(0, len(prompt) - seen(model, request.tokens))
        self._say(Loaded(id=request.id, step=step, prompt_tokens=len(prompt), dropped_tokens=dropped))
        settings = Settings(
            tokens=request.tokens,
            temperature=request.temperature,
            top_k=request.top_k,
            top_p=request.top_p,
            seed=request.seed,
        )
        began, count, cancelled = time.monotonic(), 0, False

        def ids() -> Iterator[int]:
            nonlocal count, cancelled
            for token in generate(model, prompt, settings, stop=vocabulary.end_of_text):
                count += 1
                yield token
                if cancelled := request.id in self._cancelled:
                    return

        for piece in text_of(vocabulary, ids()):
            if piece:
                self._say(Text(id=request.id, text=piece))
        self._cancelled.discard(request.id)
        reason: Literal["length", "end", "cancelled"]
        reason = "cancelled" if cancelled else "length" if count >= request.tokens else "end"
        self._say(Finished(id=request.id, reason=reason, tokens=count, seconds=time.monotonic() - began))

    def _load(self, checkpoint: Path) -> tuple[GPT, Vocabulary, int]:
        name = checkpoint.name
        step = int(name.removeprefix("step-")) if name.removeprefix("step-").isdecimal() else 0
        try:
            key = (str(checkpoint), (checkpoint / "model.safetensors").stat().st_mtime_ns)
        except OSError:
            raise BadWeights("this checkpoint is no longer there", todo="choose another one") from None
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # free the old one before the new one needs the memory
            self._loaded = (key, load_model(checkpoint), Vocabulary.load(checkpoint / "vocabulary.json"))
        return self._loaded[1], self._loaded[2], step

    def _say(self, reply: Reply) -> None:
        self._out.write(encode(reply) + b"\n")
        self._out.flush()


def main() -> None:
    # half the cores: text still comes faster than anyone reads, and training beside it keeps its own
    torch.set_num_threads(max(1, cores() // 2))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not land between the replies
    server = Server(out)
    threading.Thread(target=server.read, args=(sys.stdin.buffer,), daemon=True).start()
    try:
        server.work()
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
