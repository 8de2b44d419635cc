"""The inference process, `python -P -m core.sample.serve`: see `core.sample.protocol` for what it understands.

It is a child of whoever asks: when its standard input closes, it ends, whatever it is at. Nothing that is asked is
fatal. While nobody reads its answers it stands still: it writes each before it works on, and takes few requests ahead.
"""

from __future__ import annotations

import argparse
import os
import queue
import select
import signal
import sys
import threading
import time
import traceback
from typing import BinaryIO

import torch

from core.errors import LlmtuiError, UsageError, as_llmtui_error, log
from core.hardware import cores
from core.sample.handlers import Answer, answer
from core.sample.models import Models
from core.sample.protocol import (
    AT_ONCE,
    Cancel,
    Ended,
    Finished,
    Loaded,
    Questions,
    Ranked,
    Refused,
    Replies,
    Requests,
    encode,
)
from core.sample.request_parser import asked

IDLE = 300.0
"""Seconds without a request after which the models' memory is given back; the next request loads again."""
NICENESS = 10
"""With it a text that never ends takes three fifths of one of two cores, and two fifths of the speed of a training on
both; without it three quarters, since the training's threads wait for the slowest of them."""
_AHEAD = 4
"""Requests read before they are taken up: each may be long."""
_LOOK = 0.5
"""Seconds between two looks whether whoever asked is still there, while nothing more is read."""


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
        except LlmtuiError as trouble:
            usage = isinstance(trouble, UsageError)
            return Refused(id=self.id, what=trouble.what, where=trouble.where, todo=trouble.todo, usage=usage), True
        except BaseException as error:  # a panic in tiktoken's Rust is no Exception
            log(traceback.format_exc())
            found = as_llmtui_error(error)
            return Refused(id=self.id, what=found.what, where=found.where, todo=found.todo, usage=False), True
        finally:
            self._seconds += time.perf_counter() - began
        if isinstance(reply, Loaded):
            self._seconds = 0.0
        if isinstance(reply, Ended | Ranked):
            self._tokens += reply.tokens
        return reply, False

    def finished(self, *, cancelled: bool = False) -> Finished:
        return Finished(id=self.id, cancelled=cancelled, tokens=self._tokens, seconds=self._seconds)


class Server:
    """Those at work take turns; a thread reads what else is asked."""

    def __init__(self, out: BinaryIO, idle: float) -> None:
        self._out, self._idle = out, idle
        self._asked: queue.Queue[Requests | Refused] = queue.Queue(_AHEAD)
        self._models = Models()
        self._works: dict[int, Work] = {}
        """Whose turn is next comes first."""

    def read(self, lines: BinaryIO) -> None:
        """Take requests from `lines`, and end the process with them. Runs beside `work`."""
        for request in asked(lines):
            while not self._put(request):
                if _hung_up(lines):
                    os._exit(0)
        os._exit(0)  # whoever asked is gone

    def _put(self, request: Requests | Refused) -> bool:
        try:
            self._asked.put(request, timeout=_LOOK)
        except queue.Full:
            return False
        return True

    def work(self) -> None:
        """Answer, as long as somebody listens. Raises BrokenPipeError."""
        while True:
            self._hear()
            self._turn()

    def _turn(self) -> None:
        """Let one of them go on. Nothing here outlives it: what is cancelled must not hold its model."""
        work = self._works.pop(next(iter(self._works)))
        reply, last = work.step()
        if not last:
            self._works[work.id] = work
        if reply is not None:
            self._say(reply)

    def _hear(self) -> None:
        """Take up all that has been asked, and wait for something to do."""
        while not self._works or not self._asked.empty():
            try:
                self._take(self._asked.get(timeout=self._idle if self._models.held else None))
            except queue.Empty:
                self._models.drop()

    def _take(self, request: Requests | Refused) -> None:
        if isinstance(request, Refused):
            self._say(request)
        elif isinstance(request, Cancel):
            if work := self._works.pop(request.id, None):
                self._say(work.finished(cancelled=True))
        elif request.id in self._works:
            self._say(Refused(id=request.id, what="a request with this id is being answered", todo="give it another"))
        elif len(self._works) >= AT_ONCE:
            what = f"{AT_ONCE} requests are being answered"
            self._say(Refused(id=request.id, what=what, todo="ask again later", usage=False))
        else:
            self._works[request.id] = Work(request, self._models)

    def _say(self, reply: Replies) -> None:
        try:
            line = encode(reply)
        except UnicodeEncodeError:  # a file's name may be no UTF-8
            line = encode(Refused(id=reply.id, what="a name or a text here is no UTF-8", usage=False))
            self._works.pop(reply.id, None)
        self._out.write(line + b"\n")
        self._out.flush()


def _hung_up(lines: BinaryIO) -> bool:
    """Whether nobody can write into this pipe any more, whatever still lies in it."""
    poll = select.poll()
    poll.register(lines, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def main() -> None:
    options = argparse.ArgumentParser(prog="core.sample.serve")
    options.add_argument("--idle", type=float, default=IDLE, metavar="SECONDS", help="until models are dropped")
    idle = options.parse_args().idle
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for whoever asks: it decides, and its end is the end of this
    os.nice(NICENESS)
    # half the cores: text still comes faster than anyone reads, and training beside it keeps its own
    torch.set_num_threads(max(1, cores() // 2))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not land between the replies
    server = Server(out, idle)
    threading.Thread(target=server.read, args=(sys.stdin.buffer,), daemon=True).start()
    try:
        server.work()
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
