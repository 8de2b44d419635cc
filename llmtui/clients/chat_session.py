"""A chat with the checkpoints of a run: messages, transcript, and replies from the inference process."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

from msgspec import structs

from core.plural import plural
from core.recipe.sampling import Sampling
from core.runs.directory import Run
from core.runs.transcript import (
    AnswerInfo,
    ChatMessage,
    ComparedAnswer,
    ConversationStart,
    MessageWithdrawn,
    TranscriptEntry,
    Transcripts,
    new_session,
    newest_messages,
)
from core.sample.conversation import ChatPrompt, apply_chat_template
from core.sample.protocol import AnyReply, Generate, Loaded, TextDelta, TextEnded
from llmtui.clients.inference_client import InferenceClient

MAX_STOP_STRINGS = 16
"""Stop strings that a request may have."""


class ChatSession:
    """A chat with a run. Each checkpoint has its own conversation; a newer checkpoint may continue an older one's."""

    def __init__(self, client: InferenceClient, run: Run) -> None:
        self._client, self._run = client, run
        self.transcripts = Transcripts(run.path)
        self.messages: list[ChatMessage] = []
        """Of the current conversation, oldest first."""
        self.checkpoint = ""
        """Directory name of the checkpoint that replies."""
        self.session = ""
        """The session of the conversation (`ConversationStart.session`), if it is known."""
        self._path = Path()

    def select_checkpoint(self, checkpoint: Path, *, continue_previous: bool) -> str:
        """Let `checkpoint` reply from now on; returns a notice for the user, empty if there is nothing to say.

        continue_previous: without a conversation of its own, it continues the previous checkpoint's.
        """
        previous, self.checkpoint, self._path = self.checkpoint, checkpoint.name, checkpoint
        if previous == checkpoint.name:
            return ""
        own = self.transcripts.conversation(checkpoint.name)
        if own or not (previous and continue_previous):
            self.messages, self.session = own, self.transcripts.session(checkpoint.name)
            if self.messages or not continue_previous:
                return f"continuing its conversation of {_count(self.messages)}" if self.messages else ""
            previous = self.transcripts.last(before=checkpoint.name)
            self.messages = self.transcripts.conversation(previous) if previous else []
            self.session = self.transcripts.session(previous) if previous else ""
        if not self.messages:
            return ""
        self._write(ConversationStart(after=previous, session=self.session), *self.messages)
        return f"it continues the conversation with {previous}, {_count(self.messages)}"

    @property
    def last_user_message(self) -> str | None:
        """Text of the newest user message."""
        return next((message.text for message in reversed(self.messages) if message.role == "user"), None)

    def start_conversation(self, session: str = "", messages: Sequence[ChatMessage] = ()) -> None:
        """Start a new conversation.

        session: the one that it belongs to; by default a new one. messages: of an earlier conversation, to continue.
        """
        self.session, self.messages = session or new_session(), list(messages)
        self._write(ConversationStart(session=self.session), *self.messages)

    def branch(self) -> None:
        """Continue in a new session from before the last user message; the old one keeps it and its reply."""
        users = [number for number, message in enumerate(self.messages) if message.role == "user"]
        self.start_conversation(messages=self.messages[: users[-1]] if users else [])

    def add_user_message(self, text: str) -> None:
        """Append a user message, in place of a previous one that got no reply: two in a row fit no template."""
        if self.messages and self.messages[-1].role == "user":
            self._remove_last()
        self._append(ChatMessage(role="user", text=text))

    def remove_reply(self) -> bool:
        """Remove the last message if it is a reply; returns whether a message to reply to is left."""
        if self.messages and self.messages[-1].role == "assistant":
            self._remove_last()
        return bool(self.messages)

    def build_request(self, sampling: Sampling) -> Generate:
        """The request for a reply to the last message, with the chat template's stop strings added to `sampling`."""
        return build_request(self._run, self._path, self._prompt(), sampling)

    def compared_request(self, run: Run, checkpoint: Path, sampling: Sampling) -> tuple[ChatPrompt, Generate]:
        """The same for a checkpoint of `run`, another or the same, to be streamed by `stream_answer`."""
        start = apply_chat_template([message.message for message in self.messages], run.recipe.chat)
        return start, build_request(run, checkpoint, start, sampling)

    async def stream_answer(self, start: ChatPrompt, request: Generate) -> AsyncGenerator[AnyReply, None]:
        """Yield the inference process's replies; the answer begins as its template says.

        Raises what `InferenceClient.stream` does.
        """
        begun = False
        async with aclosing(self._client.stream(request)) as replies:
            async for reply in replies:
                if isinstance(reply, TextDelta) and not begun:
                    reply, begun = structs.replace(reply, text=start.answer_start(reply.text)), True
                yield reply

    async def stream_reply(self, request: Generate) -> AsyncGenerator[AnyReply, None]:
        """Yield the inference process's replies to `request`, made by `build_request`.

        The generated text is added to the conversation, complete or not. Raises what `InferenceClient.stream` does.
        """
        recorder = AnswerRecorder(request, self.checkpoint)
        try:
            async with aclosing(self.stream_answer(self._prompt(), request)) as replies:
                async for reply in replies:
                    recorder.record(reply)
                    yield reply
        finally:
            if recorder.text or recorder.info.ended:
                self._append(ChatMessage(role="assistant", text=recorder.text, answer_info=recorder.info))

    def add_compared(self, answer: ComparedAnswer) -> None:
        """Save what another checkpoint answered, with the last reply."""
        self._write(answer)

    def _prompt(self) -> ChatPrompt:
        return apply_chat_template([message.message for message in self.messages], self._run.recipe.chat)

    def _append(self, message: ChatMessage) -> None:
        self.messages = newest_messages([*self.messages, message])
        self._write(message)

    def _remove_last(self) -> None:
        self.messages.pop()
        self._write(MessageWithdrawn())

    def _write(self, *entries: TranscriptEntry) -> None:
        self.transcripts.add(self.checkpoint, *entries)


class AnswerRecorder:
    """What a transcript keeps of the replies to one request."""

    def __init__(self, request: Generate, checkpoint: str) -> None:
        self.text = ""
        self._info = AnswerInfo(sampling=request.sampling, checkpoint=checkpoint)
        self._surprise: list[tuple[int, float]] = []

    @property
    def info(self) -> AnswerInfo:
        return structs.replace(self._info, surprise=tuple(self._surprise))

    def record(self, reply: AnyReply) -> None:
        match reply:
            case Loaded():
                self._info = structs.replace(self._info, precision=reply.precision)
            case TextDelta():
                self.text += reply.text
                self._surprise += surprise_of(reply)
            case TextEnded():
                self._info = structs.replace(self._info, tokens=reply.tokens, ended=reply.reason)


def build_request(run: Run, checkpoint: Path, start: ChatPrompt, sampling: Sampling) -> Generate:
    """The request for the answer of a checkpoint of `run`."""
    return Generate(
        id=0,
        checkpoint=str(checkpoint),
        prompt=start.prompt,
        sampling=structs.replace(sampling, stop=(*start.stop, *sampling.stop)[:MAX_STOP_STRINGS]),
        cleaning=run.recipe.preprocess.steps,
        logprobs=True,
    )


def surprise_of(delta: TextDelta) -> tuple[tuple[int, float], ...]:
    """Characters and surprise in bits of the text of `delta`, as in `AnswerInfo.surprise`; empty if it is unknown."""
    bits = -sum(delta.logprobs) / math.log(2)
    return ((len(delta.text), round(bits, 2)),) if delta.logprobs else ()


def _count(messages: list[ChatMessage]) -> str:
    return plural(len(messages), "message")
