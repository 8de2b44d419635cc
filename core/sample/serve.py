"""The inference process, `python -P -m core.sample.serve`: answers the requests of `core.sample.protocol`.

It is a child of its client and exits when its standard input closes, even in the middle of a request. No request is
fatal. Back-pressure: each reply is written before the next is computed, and few requests are read ahead, so a client
that does not read stops the process.
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
from core.sample.handlers import AnyReplies, handle
from core.sample.models import ModelCache
from core.sample.protocol import (
    MAX_CONCURRENT_REQUESTS,
    AnyReply,
    AnyRequest,
    AnyTask,
    Cancel,
    Finished,
    Loaded,
    RankedText,
    Refused,
    TextEnded,
    encode,
)
from core.sample.request_parser import read_requests

IDLE_TIMEOUT = 300.0
"""Seconds without a request after which models are unloaded; the next request loads again."""
NICENESS = 10
"""With it, endless generation takes three fifths of one of two cores, and two fifths of the speed of a training on
both; without it three quarters, since the training's threads wait for the slowest of them."""
_READ_AHEAD = 4
"""Requests in the queue: each may be long."""
_HANGUP_POLL_INTERVAL = 0.5
"""Seconds between checks for a closed input while the queue is full."""


class RequestTask:
    """One request in progress."""

    def __init__(self, request: AnyTask, models: ModelCache) -> None:
        self.id = request.id
        self._replies: AnyReplies = handle(request, models)
        self._seconds, self._tokens = 0.0, 0

    def step(self) -> tuple[AnyReply | None, bool]:
        """The next reply, if any, and whether it was the last."""
        start = time.perf_counter()
        try:
            reply = next(self._replies)
        except StopIteration:
            return self.finished(), True
        except LlmtuiError as error:
            usage = isinstance(error, UsageError)
            return Refused(id=self.id, what=error.what, where=error.where, todo=error.todo, usage=usage), True
        except BaseException as exception:  # a panic in tiktoken's Rust is not an Exception
            log(traceback.format_exc())
            failure = as_llmtui_error(exception)
            return Refused(id=self.id, what=failure.what, where=failure.where, todo=failure.todo, usage=False), True
        finally:
            self._seconds += time.perf_counter() - start
        if isinstance(reply, Loaded):
            self._seconds = 0.0
        if isinstance(reply, TextEnded | RankedText):
            self._tokens += reply.tokens
        return reply, False

    def finished(self, *, cancelled: bool = False) -> Finished:
        return Finished(id=self.id, cancelled=cancelled, tokens=self._tokens, seconds=self._seconds)


class Server:
    """Runs requests in round-robin order; a thread reads new ones."""

    def __init__(self, out: BinaryIO, idle_timeout: float) -> None:
        self._out, self._idle_timeout = out, idle_timeout
        self._incoming: queue.Queue[AnyRequest | Refused] = queue.Queue(_READ_AHEAD)
        self._models = ModelCache()
        self._tasks: dict[int, RequestTask] = {}
        """By request id; the first is the next to run."""

    def read(self, lines: BinaryIO) -> None:
        """Queue the requests in `lines` and exit the process at end of file. Runs in a thread beside `run`."""
        for request in read_requests(lines):
            while not self._enqueue(request):
                if _hung_up(lines):
                    os._exit(0)
        os._exit(0)  # the client is gone

    def _enqueue(self, request: AnyRequest | Refused) -> bool:
        try:
            self._incoming.put(request, timeout=_HANGUP_POLL_INTERVAL)
        except queue.Full:
            return False
        return True

    def run(self) -> None:
        """Answer requests until the client closes the pipe. Raises BrokenPipeError."""
        while True:
            self._accept_requests()
            self._run_next()

    def _run_next(self) -> None:
        """One step of one task. No local variable may outlive it: a cancelled task must not keep its model alive."""
        task = self._tasks.pop(next(iter(self._tasks)))
        reply, last = task.step()
        if not last:
            self._tasks[task.id] = task
        if reply is not None:
            self._send(reply)

    def _accept_requests(self) -> None:
        """Empty the queue; without tasks, wait for a request."""
        while not self._tasks or not self._incoming.empty():
            try:
                self._accept(self._incoming.get(timeout=self._idle_timeout if self._models.loaded else None))
            except queue.Empty:
                self._models.unload()

    def _accept(self, request: AnyRequest | Refused) -> None:
        if isinstance(request, Refused):
            self._send(request)
        elif isinstance(request, Cancel):
            if task := self._tasks.pop(request.id, None):
                self._send(task.finished(cancelled=True))
        elif request.id in self._tasks:
            self._send(Refused(id=request.id, what="a request with this id is being answered", todo="give it another"))
        elif len(self._tasks) >= MAX_CONCURRENT_REQUESTS:
            what = f"{MAX_CONCURRENT_REQUESTS} requests are being answered"
            self._send(Refused(id=request.id, what=what, todo="ask again later", usage=False))
        else:
            self._tasks[request.id] = RequestTask(request, self._models)

    def _send(self, reply: AnyReply) -> None:
        try:
            line = encode(reply)
        except UnicodeEncodeError:  # a file name may not be UTF-8
            line = encode(Refused(id=reply.id, what="a name or a text here is no UTF-8", usage=False))
            self._tasks.pop(reply.id, None)
        self._out.write(line + b"\n")
        self._out.flush()


def _hung_up(lines: BinaryIO) -> bool:
    """Whether the other end of this pipe is closed, even if it still has data."""
    poll = select.poll()
    poll.register(lines, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def main() -> None:
    parser = argparse.ArgumentParser(prog="core.sample.serve")
    parser.add_argument(
        "--idle",
        type=float,
        default=IDLE_TIMEOUT,
        metavar="SECONDS",
        help="without a request, until models are unloaded",
    )
    idle_timeout = parser.parse_args().idle
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the client handles it and closes our input
    os.nice(NICENESS)
    # half the cores: still faster than anyone reads, and a training beside it keeps the others
    torch.set_num_threads(max(1, cores() // 2))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not end up between the replies
    server = Server(out, idle_timeout)
    threading.Thread(target=server.read, args=(sys.stdin.buffer,), daemon=True).start()
    try:
        server.run()
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
