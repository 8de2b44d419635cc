"""Talking with the checkpoints of a run: the sampler is asked, the answer gathered, and what was said kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from msgspec import structs

from core.errors import LlmtuiError
from core.plural import plural
from core.recipe.sampling import Sampling
from core.runs.directory import Run
from core.runs.transcript import Began, Drawn, Said, Transcripts, Withdrawn, newest
from core.sample.conversation import Opening, opening
from core.sample.protocol import Ended, Generate, Loaded, Questions, Refused, Replies, Text
from llmtui.clients.sampler import Sampler

MOST_STOPS = 16
"""Strings that a request takes to stop at."""


class ReplyError(LlmtuiError):
    doing = "draw text"


class UnanswerableError(ReplyError):
    """As it is asked it never will be."""


async def replies(sampler: Sampler, request: Questions) -> AsyncGenerator[Replies, None]:
    """What the sampler says to `request`, but for a refusal. Raises ReplyError for that, and what `ask` does."""
    async with aclosing(sampler.ask(request)) as said:
        async for reply in said:
            if isinstance(reply, Refused):
                kind = UnanswerableError if reply.usage else ReplyError
                raise kind(reply.what, where=reply.where, todo=reply.todo)
            yield reply


class Talk:
    """A conversation with a run. Each checkpoint has its own, until a newer one takes its place and takes it over."""

    def __init__(self, sampler: Sampler, run: Run) -> None:
        self._sampler, self._run = sampler, run
        self.transcripts = Transcripts(run.path)
        self.said: list[Said] = []
        """So far, oldest first."""
        self.checkpoint = ""
        """The name of the one that answers."""
        self._path = Path()

    def turn_to(self, checkpoint: Path, *, take_over: bool) -> str:
        """Let `checkpoint` answer from here on; what that means for the conversation, in words, if anything.

        take_over: it is the newest, and goes on with what was said to the one before.
        """
        before, self.checkpoint, self._path = self.checkpoint, checkpoint.name, checkpoint
        if before == checkpoint.name:
            return ""
        own = self.transcripts.conversation(checkpoint.name)
        if own or not (before and take_over):
            self.said = own
            if self.said or not take_over:
                return f"going on with what was said to it before, {_count(self.said)}" if self.said else ""
            before = self.transcripts.last(before=checkpoint.name)
            self.said = self.transcripts.conversation(before) if before else []
        if not self.said:
            return ""
        self._keep(Began(after=before), *self.said)
        return f"it takes over the conversation with {before}, {_count(self.said)}"

    @property
    def asked(self) -> str | None:
        """What the person said last."""
        return next((said.text for said in reversed(self.said) if said.role == "user"), None)

    def begin(self) -> None:
        """Begin a new conversation."""
        self.said = []
        self._keep(Began())

    def say(self, text: str) -> None:
        """Say something to the model; what it never answered is taken back, or it would read two questions in a row."""
        if self.said and self.said[-1].role == "user":
            self.said.pop()
            self._keep(Withdrawn())
        self._add(Said(role="user", text=text))

    def withdraw(self) -> bool:
        """Take the last answer back; whether there is something to answer now."""
        if self.said and self.said[-1].role == "assistant":
            self.said.pop()
            self._keep(Withdrawn())
        return bool(self.said)

    def request(self, sampling: Sampling) -> Generate:
        """What to ask for an answer to what was said last. Other fields of it are the caller's."""
        start = self._opening()
        stop = (*start.stop, *sampling.stop)[:MOST_STOPS]
        sampling = structs.replace(sampling, stop=stop)
        cleaning = self._run.recipe.preprocess.steps
        return Generate(id=0, checkpoint=str(self._path), prompt=start.prompt, sampling=sampling, cleaning=cleaning)

    async def answer(self, request: Generate) -> AsyncGenerator[Replies, None]:
        """The replies to `request`, which `request` made; the text that comes is kept, complete or not.

        Raises ReplyError, and what `Sampler.ask` does.
        """
        start = self._opening()
        text, drawn = "", Drawn(sampling=request.sampling, checkpoint=self.checkpoint)
        try:
            async with aclosing(replies(self._sampler, request)) as came:
                async for reply in came:
                    match reply:
                        case Loaded():
                            drawn = structs.replace(drawn, precision=reply.precision)
                        case Text():
                            fresh = reply.text if text else start.begun(reply.text)
                            reply, text = structs.replace(reply, text=fresh), text + fresh
                        case Ended():
                            drawn = structs.replace(drawn, tokens=reply.tokens, ended=reply.reason)
                    yield reply
        finally:
            if text or drawn.ended:
                self._add(Said(role="assistant", text=text, drawn=drawn))

    def _opening(self) -> Opening:
        return opening([said.message for said in self.said], self._run.recipe.chat)

    def _add(self, said: Said) -> None:
        self.said = newest([*self.said, said])
        self._keep(said)

    def _keep(self, *entries: Began | Said | Withdrawn) -> None:
        self.transcripts.add(self.checkpoint, *entries)


def _count(said: list[Said]) -> str:
    return plural(len(said), "message")
