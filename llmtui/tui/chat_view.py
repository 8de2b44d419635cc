"""What was said to one run, as turns that a screen shows: those kept from earlier, and new ones as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

from msgspec import Struct, structs

from core.checkpoints import step_of
from core.errors import LlmtuiError
from core.plural import plural
from core.recipe.sampling import Sampling
from core.runs.directory import Run
from core.runs.transcript import ChatMessage, earlier_messages
from core.sample.protocol import AnyReply, DenoisingState, Finished, Generate, Loaded, Span, TextDelta, TextEnded
from core.storage.artifact import Artifact
from llmtui.clients.chat_session import ChatSession
from llmtui.clients.inference_client import InferenceClient
from llmtui.view.unmask import cells

_ENDS = {"length": "", "end": ", ended by itself", "stop": ", ended at a stop string"}


class Turn(Struct, kw_only=True):
    """One prompt and its continuation."""

    prompt: str
    settings: str
    """What it was drawn with, in words."""
    apart: bool = False
    """The text is an answer, not what the prompt goes on with."""
    text: str = ""
    uncovering: tuple[Span, ...] = ()
    """What a masked model is uncovering behind `text`."""
    cells: int = 1
    """How wide a hidden place is drawn."""
    outcome: str = "loading the checkpoint"
    """How it stands or how it ended."""
    tokens_per_second: float = 0.0
    at_work: bool = True
    failed: bool = False


class Turns:
    """The turns with one run."""

    def __init__(self, client: InferenceClient, run: Run, checkpoint: str) -> None:
        """checkpoint: the name of the one that answers first; what was said to it before is there already."""
        self._client, self._run = client, run
        self._session: ChatSession | None = None
        self.all = _kept(earlier_messages(run.path, checkpoint), apart=self.converses)
        self.note = ""
        """What another checkpoint that answers means for the conversation, in words, if anything."""

    @property
    def converses(self) -> bool:
        """Whether the model was given templates for a conversation; if not, each prompt stands alone."""
        return self._run.recipe.chat.templated

    def ask(self, checkpoint: Artifact, prompt: str, sampling: Sampling, *, newest: bool, again: bool) -> Asking:
        """A new turn, which `Asking.write` lets the model write. again: in place of the answer to the last prompt."""
        if self._session is None or self._session.transcripts.taken:  # the other chat may be over by now
            self._session = ChatSession(self._client, self._run)
        words = self._session.select_checkpoint(checkpoint.path, continue_previous=newest and self.converses)
        self.note = words if self.converses else ""  # a prompt that stands alone goes on with nothing
        if again and self._session.last_user_message == prompt:
            self._session.remove_reply()
        else:
            if not self.converses:
                self._session.start_conversation()
            self._session.add_user_message(prompt)
        turn = Turn(prompt=prompt, settings=_settings(checkpoint.path.name, sampling), apart=self.converses)
        self.all.append(turn)
        masked = self._run.recipe.model.objective == "masked"
        return Asking(
            self._session, turn, structs.replace(self._session.build_request(sampling), denoising_states=masked)
        )

    @property
    def warning(self) -> str:
        """Why what is said is not kept, if it is not."""
        if self._session is None or self._session.transcripts.kept:
            return ""
        if self._session.transcripts.taken:
            return "Another chat with this run is open: what is said here is not kept."
        return "The disk takes no more: what is said here is not kept."

    def begin(self, checkpoint: Artifact) -> None:
        """Begin a new conversation; what was said stays in the transcript on the disk."""
        if self._session is None:
            self._session = ChatSession(self._client, self._run)
            self._session.select_checkpoint(checkpoint.path, continue_previous=False)
        self._session.start_conversation()
        self.all = []

    def close(self) -> None:
        """Let others chat with this run."""
        if self._session is not None:
            self._session.transcripts.close()


class Asking:
    """One turn that is being written."""

    def __init__(self, session: ChatSession, turn: Turn, request: Generate) -> None:
        self._session, self.turn, self._request = session, turn, request

    async def write(self, drawn: Callable[[], None]) -> None:
        """Let the model write it; `drawn` is called when it is over, however it ends."""
        turn, started, count = self.turn, 0.0, 0
        loop = asyncio.get_running_loop()
        try:
            async with aclosing(self._session.stream_reply(self._request)) as replies:
                async for reply in replies:
                    if isinstance(reply, Loaded):
                        started = loop.time()
                    if isinstance(reply, DenoisingState):
                        count = reply.tokens
                    elif isinstance(reply, TextDelta) and not self._request.denoising_states:
                        count += 1
                    self._take(reply)
                    if isinstance(reply, TextDelta | DenoisingState) and loop.time() > started:
                        turn.tokens_per_second = count / (loop.time() - started)
        except LlmtuiError as trouble:
            turn.failed, turn.outcome = True, trouble.what + (f"; {trouble.todo}" if trouble.todo else "")
        except asyncio.CancelledError:
            turn.outcome = "stopped"
        finally:
            turn.at_work = False
            turn.uncovering = tuple(structs.replace(span, new=False) for span in turn.uncovering)
            drawn()

    def _take(self, reply: AnyReply) -> None:
        turn = self.turn
        match reply:
            case Loaded():
                turn.outcome, turn.cells = "writing", cells(turn.prompt, reply)
                turn.settings += _precise(reply.precision)
                if reply.dropped_tokens:
                    turn.outcome += f"; the context has no room for the first {plural(reply.dropped_tokens, 'token')}"
            case TextDelta():
                turn.text += reply.text
                turn.uncovering = ()
            case DenoisingState():
                turn.uncovering = tuple(reply.spans)
                turn.outcome = f"{reply.tokens:,} of {plural(self._request.sampling.tokens, 'token')} uncovered"
            case TextEnded():
                turn.outcome = plural(reply.tokens, "token") + _ENDS[reply.reason]
            case Finished():
                turn.tokens_per_second = reply.tokens / reply.seconds if reply.seconds > 0 else 0.0


def _kept(said: list[ChatMessage], *, apart: bool) -> list[Turn]:
    """Turns of what was said earlier."""
    turns: list[Turn] = []
    for one in said:
        if one.role == "user":
            turns.append(Turn(prompt=one.text, settings="", outcome="no answer", apart=apart, at_work=False))
        elif one.role == "assistant" and turns and one.drawn is not None:
            drawn, turn = one.drawn, turns[-1]
            turn.text, turn.settings = one.text, _settings(drawn.checkpoint, drawn.sampling, drawn.precision)
            ended = drawn.ended in _ENDS
            turn.outcome = plural(drawn.tokens, "token") + _ENDS[drawn.ended] if ended else "stopped"
    return turns


def _settings(checkpoint: str, sampling: Sampling, precision: str = "") -> str:
    """What answered and how. checkpoint: its name, if that is known."""
    at = f"step {step_of(Path(checkpoint)):,} · " if checkpoint else ""
    drawn = f"T {sampling.temperature:g} · k {sampling.top_k} · p {sampling.top_p:g} · seed {sampling.seed}"
    return at + drawn + _precise(precision)


def _precise(precision: str) -> str:
    """What is said of the numbers' format, where it is not the usual one."""
    return "" if not precision or precision.startswith("float32") else f" · {precision.partition(',')[0]}"
