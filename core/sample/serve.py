"""The sampler process, `python -P -m core.sample.serve`: see `core.sample.protocol` for what it understands.

It is a child of whoever asks: when its standard input closes, it ends. Any bad request is answered, never fatal.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from typing import BinaryIO

import msgspec
import torch

from core.hardware import cores
from core.sample.answers import Answer, answer
from core.sample.models import Models
from core.sample.protocol import (
    Cancel,
    Ended,
    Finished,
    Questions,
    Refused,
    Replies,
    Requests,
    decode_request,
    encode,
)
from core.trouble import Trouble


class Work:
    """One request that is being answered."""

    def __init__(self, request: Questions, models: Models) -> None:
        self.id = request.id
        self._answer: Answer = answer(request, models)
        self._seconds, self._tokens = 0.0, 0

    def step(self) -> tuple[Replies | None, bool]:
        """The next reply, if there is one, and whether it was the last."""
        began = time.perf_counter()
        try:
            reply = next(self._answer)
        except StopIteration:
            return self.finished(), True
        except Trouble as trouble:
            return Refused(id=self.id, what=trouble.what, todo=trouble.todo), True
        except (MemoryError, RuntimeError, OSError, ValueError) as error:
            return Refused(id=self.id, what=f"{type(error).__name__}: {error}"), True
        finally:
            self._seconds += time.perf_counter() - began
        if isinstance(reply, Ended):
            self._tokens += reply.tokens
        return reply, False

    def finished(self, *, cancelled: bool = False) -> Finished:
        return Finished(id=self.id, cancelled=cancelled, tokens=self._tokens, seconds=self._seconds)


class Server:
    """Those at work take turns; a thread reads what else is asked."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._asked: queue.Queue[Requests | None] = queue.Queue()
        self._models = Models()
        self._works: dict[int, Work] = {}

    def read(self, lines: BinaryIO) -> None:
        """Take requests from `lines` until they end. Runs beside `work`."""
        for line in lines:
            try:
                self._asked.put(decode_request(line))
            except msgspec.DecodeError as error:
                self._say(Refused(id=0, what=f"this is no request: {error}"))
        self._asked.put(None)

    def work(self) -> None:
        """Answer until the input has ended."""
        while True:
            while not self._works or not self._asked.empty():
                request = self._asked.get()
                if request is None:
                    return
                self._take(request)
            for work in list(self._works.values()):
                reply, last = work.step()
                if last:
                    del self._works[work.id]
                if reply is not None:
                    self._say(reply)

    def _take(self, request: Requests) -> None:
        if isinstance(request, Cancel):
            if work := self._works.pop(request.id, None):
                self._say(work.finished(cancelled=True))
        elif request.id in self._works:
            self._say(Refused(id=request.id, what="a request with this id is being answered", todo="give it another"))
        else:
            self._works[request.id] = Work(request, self._models)

    def _say(self, reply: Replies) -> None:
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
