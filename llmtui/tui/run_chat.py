"""The chat with one run as the Chat screen shows it: earlier turns, and new ones while they are generated."""

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
from llmtui.view.unmask import mask_width

_ENDS = {"length": "", "end": ", ended by itself", "stop": ", ended at a stop string"}


class Turn(Struct, kw_only=True):
    """One prompt and its completion or reply."""

    prompt: str
    settings: str
    """Checkpoint, sampling settings and precision, in words."""
    is_reply: bool = False
    """Whether the text replies to the prompt in a conversation, instead of continuing it."""
    text: str = ""
    masked_spans: tuple[Span, ...] = ()
    """The text after `text` that a masked model is still unmasking."""
    mask_width: int = 1
    """Cells of one masked position."""
    status: str = "loading the checkpoint"
    """How generating it proceeds, or how it ended."""
    tokens_per_second: float = 0.0
    pending: bool = True
    failed: bool = False


class RunChat:
    """The turns with one run."""

    def __init__(self, client: InferenceClient, run: Run, checkpoint: str) -> None:
        """checkpoint: name of the checkpoint that replies first; the turns begin with those of its transcript."""
        self._client, self._run = client, run
        self._session: ChatSession | None = None
        self.turns = _turns_of(earlier_messages(run.path, checkpoint), is_reply=self.is_conversation)
        self.checkpoint_note = ""
        """What the last change of the checkpoint means for the conversation, in words, if anything."""

    @property
    def is_conversation(self) -> bool:
        """Whether the recipe has chat templates; without them each prompt is continued independently."""
        return self._run.recipe.chat.templated

    def send(self, checkpoint: Artifact, prompt: str, sampling: Sampling, *, newest: bool, retry: bool) -> PendingReply:
        """Add a turn for `prompt`, which `PendingReply.run` generates.

        newest: whether `checkpoint` is the newest, which continues the conversation with the one before it.
        retry: replace the reply to the last prompt.
        """
        if self._session is None or self._session.transcripts.taken:  # the other chat may have ended since
            self._session = ChatSession(self._client, self._run)
        note = self._session.select_checkpoint(checkpoint.path, continue_previous=newest and self.is_conversation)
        self.checkpoint_note = note if self.is_conversation else ""
        if retry and self._session.last_user_message == prompt:
            self._session.remove_reply()
        else:
            if not self.is_conversation:
                self._session.start_conversation()
            self._session.add_user_message(prompt)
        settings = _settings_text(checkpoint.path.name, sampling)
        turn = Turn(prompt=prompt, settings=settings, is_reply=self.is_conversation)
        self.turns.append(turn)
        masked = self._run.recipe.model.objective == "masked"
        request = structs.replace(self._session.build_request(sampling), denoising_states=masked)
        return PendingReply(self._session, turn, request)

    @property
    def storage_warning(self) -> str:
        """Why the transcript is not saved, if it is not."""
        if self._session is None or self._session.transcripts.kept:
            return ""
        if self._session.transcripts.taken:
            return "Another chat with this run is open: this conversation is not saved."
        return "The transcript cannot be written: this conversation is not saved."

    def start_new(self, checkpoint: Artifact) -> None:
        """Start a new conversation; the transcript on the disk keeps the old one."""
        if self._session is None:
            self._session = ChatSession(self._client, self._run)
            self._session.select_checkpoint(checkpoint.path, continue_previous=False)
        self._session.start_conversation()
        self.turns = []

    def close(self) -> None:
        """Release the transcript, so that another program can chat with this run."""
        if self._session is not None:
            self._session.transcripts.close()


class PendingReply:
    """One turn while its text is generated."""

    def __init__(self, session: ChatSession, turn: Turn, request: Generate) -> None:
        self._session, self.turn, self._request = session, turn, request

    async def run(self, on_end: Callable[[], None]) -> None:
        """Generate the text into `turn`. Errors become the status of the turn; `on_end` is called in every case."""
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
                    self._apply(reply)
                    if isinstance(reply, TextDelta | DenoisingState) and loop.time() > started:
                        turn.tokens_per_second = count / (loop.time() - started)
        except LlmtuiError as error:
            turn.failed, turn.status = True, error.what + (f"; {error.todo}" if error.todo else "")
        except asyncio.CancelledError:
            turn.status = "stopped"
        finally:
            turn.pending = False
            turn.masked_spans = tuple(structs.replace(span, new=False) for span in turn.masked_spans)
            on_end()

    def _apply(self, reply: AnyReply) -> None:
        turn = self.turn
        match reply:
            case Loaded():
                turn.status, turn.mask_width = "writing", mask_width(turn.prompt, reply)
                turn.settings += _precision_text(reply.precision)
                if reply.dropped_tokens:
                    turn.status += f"; the context has no room for the first {plural(reply.dropped_tokens, 'token')}"
            case TextDelta():
                turn.text += reply.text
                turn.masked_spans = ()
            case DenoisingState():
                turn.masked_spans = tuple(reply.spans)
                turn.status = f"{reply.tokens:,} of {plural(self._request.sampling.tokens, 'token')} unmasked"
            case TextEnded():
                turn.status = plural(reply.tokens, "token") + _ENDS[reply.reason]
            case Finished():
                turn.tokens_per_second = reply.tokens / reply.seconds if reply.seconds > 0 else 0.0


def _turns_of(messages: list[ChatMessage], *, is_reply: bool) -> list[Turn]:
    """The turns of a transcript."""
    turns: list[Turn] = []
    for message in messages:
        if message.role == "user":
            turn = Turn(prompt=message.text, settings="", status="no answer", is_reply=is_reply, pending=False)
            turns.append(turn)
        elif message.role == "assistant" and turns and message.answer_info is not None:
            info, turn = message.answer_info, turns[-1]
            turn.text = message.text
            turn.settings = _settings_text(info.checkpoint, info.sampling, info.precision)
            ended = info.ended in _ENDS
            turn.status = plural(info.tokens, "token") + _ENDS[info.ended] if ended else "stopped"
    return turns


def _settings_text(checkpoint: str, sampling: Sampling, precision: str = "") -> str:
    """checkpoint: its name; empty in transcripts that do not say it."""
    step = f"step {step_of(Path(checkpoint)):,} · " if checkpoint else ""
    settings = f"T {sampling.temperature:g} · k {sampling.top_k} · p {sampling.top_p:g} · seed {sampling.seed}"
    return step + settings + _precision_text(precision)


def _precision_text(precision: str) -> str:
    """The precision of the weights, unless it is the usual float32."""
    return "" if not precision or precision.startswith("float32") else f" · {precision.partition(',')[0]}"
