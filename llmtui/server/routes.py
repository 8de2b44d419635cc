"""The paths there are, and what happens on each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from core.errors import LlmtuiError
from llmtui.clients.inference_client import InferenceClient, InferenceProcessError
from llmtui.server.auth import GONE, body
from llmtui.server.errors import ApiError, refused
from llmtui.server.generation import Delta, Job
from llmtui.server.registry import Offers
from llmtui.server.responses import Teller
from llmtui.server.schema import Body, ChatCompletion, Completion, parse

LOG = logging.getLogger(__name__)

AT_ONCE = 8
"""Requests that are answered at once, in turns; others wait. Each takes memory for what it has read."""

Done = TypeVar("Done")


class Service:
    """Answers requests with one inference process."""

    def __init__(self, client: InferenceClient, offers: Offers) -> None:
        self._client, self._offers = client, offers
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._closing = False
        self._ignored: set[str] = set()
        """Fields of which it has been said."""

    def routes(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/models/{name}", self._model),
                Route("/v1/completions", self._completions, methods=["POST"]),
                Route("/v1/chat/completions", self._chat_completions, methods=["POST"]),
            ],
            exception_handlers=dict.fromkeys((ApiError, HTTPException, LlmtuiError, Exception), refused),
        )

    @property
    def wanted(self) -> bool:
        """Whether requests wait until another has been answered."""
        return self._waiting > 0

    @asynccontextmanager
    async def _place(self) -> AsyncGenerator[None]:
        """One of those that are answered at once."""
        self._waiting += 1
        try:
            await self._room.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._room.release()

    async def close(self) -> None:
        """End the inference process, and with it every answer."""
        self._closing = True
        await self._client.close()

    # -- paths --------------------------------------------------------------------------------------------------------

    async def _models(self, request: Request) -> Response:
        models = await asyncio.to_thread(lambda: [offer.described() for offer in self._offers.all()])
        return _json({"object": "list", "data": models})

    async def _model(self, request: Request) -> Response:
        return _json((await asyncio.to_thread(self._offers.find, request.path_params["name"])).described())

    async def _completions(self, request: Request) -> Response:
        return await self._texts(request, Completion)

    async def _chat_completions(self, request: Request) -> Response:
        return await self._texts(request, ChatCompletion)

    async def _texts(self, request: Request, kind: type[Body]) -> Response:
        asked = parse(await body(request), kind, self._ignore)
        job = Job.of(asked, await asyncio.to_thread(self._offers.find, asked.model))
        options = asked.stream_options
        teller = Teller(
            job,
            chat=isinstance(asked, ChatCompletion),
            usage=bool(options and options.include_usage),
        )
        request.state.told = lambda: f" {job.offer.exact}, {f'{job.tokens} tokens' if job.done else 'broken off'}"
        deltas = self._deltas(job)
        if not asked.stream:
            whole = await _while_there(request, teller.whole(deltas))
            return Response(whole, media_type="application/json")
        first = await _while_there(request, anext(deltas))  # what is refused at once has a status that says so
        return Events(teller.events(first, deltas), deltas)

    def _ignore(self, name: str) -> None:
        """Say once of each field that it changes nothing."""
        if name not in self._ignored:
            self._ignored.add(name)
            LOG.info(f"requests say {name}, which changes nothing here and is ignored")

    async def _deltas(self, job: Job) -> AsyncGenerator[Delta, None]:
        ending = ApiError(503, "the server is ending")
        async with self._place(), aclosing(job.deltas(self._client)) as deltas:
            if self._closing:
                raise ending
            try:
                async for delta in deltas:
                    yield delta
            except InferenceProcessError as died:
                raise ending if self._closing else died from None


class Events(StreamingResponse):
    """A stream of server-sent events, which ends its source when nobody listens any more."""

    def __init__(self, events: AsyncGenerator[bytes, None], deltas: AsyncGenerator[Delta, None]) -> None:
        """deltas: what `events` are made of; a generator that never began closes nothing."""
        super().__init__(events, headers={"cache-control": "no-store"}, media_type="text/event-stream")
        self._events, self._deltas = events, deltas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()
            await self._deltas.aclose()


async def _while_there(request: Request, work: Coroutine[Any, Any, Done]) -> Done:
    """What `work` comes to; it is cancelled when the client goes. Raises ApiError then."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(499, GONE)
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
