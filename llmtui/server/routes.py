"""The routes of the HTTP API and their handlers."""

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
from llmtui.server.auth import CLIENT_DISCONNECTED, read_body
from llmtui.server.errors import ApiError, error_response
from llmtui.server.generation import ChoiceDelta, GenerationJob
from llmtui.server.registry import ModelRegistry
from llmtui.server.responses import ResponseWriter
from llmtui.server.schema import ChatCompletionRequest, CompletionRequest, RequestT, parse_request

LOG = logging.getLogger(__name__)

MAX_CONCURRENT = 8
"""Requests generated at the same time; others wait. Each has a KV cache in memory."""

T = TypeVar("T")


class Api:
    """Answers requests with one inference process."""

    def __init__(self, client: InferenceClient, models: ModelRegistry) -> None:
        self._client, self._models = client, models
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._waiting = 0
        self._closing = False
        self._logged_fields: set[str] = set()
        """Ignored fields that were logged already."""

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/models", self._list_models),
                Route("/v1/models/{name}", self._get_model),
                Route("/v1/completions", self._completions, methods=["POST"]),
                Route("/v1/chat/completions", self._chat_completions, methods=["POST"]),
            ],
            exception_handlers=dict.fromkeys((ApiError, HTTPException, LlmtuiError, Exception), error_response),
        )

    @property
    def has_waiting_requests(self) -> bool:
        """Whether requests wait for others to finish."""
        return self._waiting > 0

    @asynccontextmanager
    async def _slot(self) -> AsyncGenerator[None]:
        """Holds one of the MAX_CONCURRENT slots."""
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    async def close(self) -> None:
        """End the inference process, and with it every response."""
        self._closing = True
        await self._client.close()

    # -- handlers -----------------------------------------------------------------------------------------------------

    async def _list_models(self, request: Request) -> Response:
        models = await asyncio.to_thread(lambda: [model.to_openai() for model in self._models.all()])
        return _json_response({"object": "list", "data": models})

    async def _get_model(self, request: Request) -> Response:
        model = await asyncio.to_thread(self._models.find, request.path_params["name"])
        return _json_response(model.to_openai())

    async def _completions(self, request: Request) -> Response:
        return await self._generate(request, CompletionRequest)

    async def _chat_completions(self, request: Request) -> Response:
        return await self._generate(request, ChatCompletionRequest)

    async def _generate(self, request: Request, kind: type[RequestT]) -> Response:
        body = parse_request(await read_body(request), kind, self._log_ignored)
        job = GenerationJob.of(body, await asyncio.to_thread(self._models.find, body.model))
        options = body.stream_options
        writer = ResponseWriter(
            job,
            chat=isinstance(body, ChatCompletionRequest),
            include_usage=bool(options and options.include_usage),
        )
        request.state.log_note = lambda: (
            f" {job.model.id_with_step}, {f'{job.completion_tokens} tokens' if job.done else 'aborted'}"
        )
        deltas = self._deltas(job)
        if not body.stream:
            content = await _cancel_on_disconnect(request, writer.complete(deltas))
            return Response(content, media_type="application/json")
        # wait for the first delta: an error before it still has an HTTP status of its own
        first = await _cancel_on_disconnect(request, anext(deltas))
        return EventStreamResponse(writer.events(first, deltas), deltas)

    def _log_ignored(self, name: str) -> None:
        """Log each ignored field once."""
        if name not in self._logged_fields:
            self._logged_fields.add(name)
            LOG.info(f"{name} in requests has no effect here and is ignored")

    async def _deltas(self, job: GenerationJob) -> AsyncGenerator[ChoiceDelta, None]:
        closing = ApiError(503, "the server is shutting down")
        async with self._slot(), aclosing(job.deltas(self._client)) as deltas:
            if self._closing:
                raise closing
            try:
                async for delta in deltas:
                    yield delta
            except InferenceProcessError as error:
                raise closing if self._closing else error from None


class EventStreamResponse(StreamingResponse):
    """Server-sent events. When the client disconnects, generation is cancelled."""

    def __init__(self, events: AsyncGenerator[bytes, None], deltas: AsyncGenerator[ChoiceDelta, None]) -> None:
        """deltas: the source of `events`, closed separately: an async generator that never started closes nothing."""
        super().__init__(events, headers={"cache-control": "no-store"}, media_type="text/event-stream")
        self._events, self._deltas = events, deltas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()
            await self._deltas.aclose()


async def _cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled if the client disconnects. Raises ApiError then."""
    task, disconnect = asyncio.ensure_future(work), asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(499, CLIENT_DISCONNECTED)
        return task.result()
    finally:
        task.cancel()
        disconnect.cancel()
        await asyncio.gather(task, disconnect, return_exceptions=True)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json_response(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
