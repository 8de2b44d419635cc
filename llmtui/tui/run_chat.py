"""The chat with one run as the Chat screen shows it: earlier turns, and new ones while they are generated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

from msgspec import structs

from core.errors import LlmtuiError
from core.plural import plural
from core.runs.chat_sessions import SavedSession
from core.runs.directory import Run
from core.runs.remote_state import inference_path
from core.runs.transcript import ComparedAnswer, earlier_messages, new_session
from core.sample.conversation import ChatPrompt
from core.sample.protocol import AnyReply, DenoisingState, Finished, Generate, Loaded, TextDelta, TextEnded
from core.storage.artifact import Artifact
from llmtui.clients.chat_session import AnswerRecorder, ChatSession, surprise_of
from llmtui.clients.inference_client import InferenceClient
from llmtui.view.chat_turn import ENDS, Turn, precision_text, settings_text, split_gap, turns_of
from llmtui.view.sampler_settings import SamplerSettings
from llmtui.view.unmask import mask_width


class ComparedCheckpoint(NamedTuple):
    """A checkpoint that answers beside the chosen one."""

    run: Run
    path: Path


class RunChat:
    """The turns with one run."""

    def __init__(self, client: InferenceClient, run: Run, checkpoint: str) -> None:
        """checkpoint: name of the checkpoint that replies first; the turns begin with those of its transcript."""
        self._client, self._run = client, run
        self._session: ChatSession | None = None
        self._session_id = new_session()
        """Of the turns of a model without chat templates."""
        self._opened: SavedSession | None = None
        """The session that the next prompt continues."""
        messages = earlier_messages(run.path, checkpoint)
        self.turns = turns_of(messages, run.id, is_reply=self.is_conversation, masked=self.fills_gaps)
        self.checkpoint_note = ""
        """What the last change of the checkpoint means for the conversation, in words, if anything."""

    @property
    def is_conversation(self) -> bool:
        """Whether the recipe has chat templates; without them each prompt is continued independently."""
        return self._run.recipe.chat.templated

    @property
    def fills_gaps(self) -> bool:
        """Whether a prompt may have a gap."""
        return is_masked(self._run) and not self.is_conversation

    def send(
        self,
        checkpoint: Artifact,
        typed: str,
        settings: SamplerSettings,
        *,
        newest: bool,
        branch: bool = False,
        compared: ComparedCheckpoint | None = None,
    ) -> PendingReply:
        """Add a turn for the prompt `typed`, which `PendingReply.run` generates.

        newest: whether `checkpoint` is the newest, which continues the conversation with the one before it. branch: the
        prompt takes the place of the last one; the conversation with that stays in the list of sessions.
        """
        session = self._open_session(checkpoint, newest=newest)
        if not self.is_conversation:
            session.start_conversation(self._session_id)
        elif branch and self.turns and session.last_user_message == self.turns[-1].typed:
            session.branch()
            self.turns[-1].status += ", no longer part of the conversation"
        session.add_user_message(typed)
        turn = self._new_turn(typed, self._run, checkpoint.path, settings)
        self.turns.append(turn)
        turn.request = _with_options(
            session.build_request(settings.sampling), turn, settings, masked=is_masked(self._run)
        )
        reply = PendingReply(session, turn, turn.request)
        if compared is not None:
            turn.compared = self._new_turn(typed, compared.run, compared.path, settings)
            start, request = session.compared_request(compared.run, compared.path, settings.sampling)
            turn.compared.request = _with_options(request, turn.compared, settings, masked=is_masked(compared.run))
            reply.compare(start, turn.compared.request)
        return reply

    def _open_session(self, checkpoint: Artifact, *, newest: bool) -> ChatSession:
        if self._session is None or self._session.transcripts.taken:  # the other chat may have ended since
            self._session = ChatSession(self._client, self._run)
        note = self._session.select_checkpoint(checkpoint.path, continue_previous=newest and self.is_conversation)
        self.checkpoint_note = note if self.is_conversation else ""
        if self._opened is not None:
            self._session_id = self._opened.id
            if self.is_conversation:
                self._session.start_conversation(self._opened.id, self._opened.messages)
            self._opened, self.checkpoint_note = None, ""
        return self._session

    def _new_turn(self, typed: str, run: Run, checkpoint: Path, settings: SamplerSettings) -> Turn:
        prompt, suffix = split_gap(typed, masked=self.fills_gaps)
        return Turn(
            prompt=prompt,
            suffix=suffix,
            settings=settings_text(checkpoint.name, settings.sampling),
            checkpoint=checkpoint.name,
            run=run.id,
            sampling=settings.sampling,
            is_reply=self.is_conversation,
        )

    def request_of(self, turn: Turn) -> Generate | None:
        """The request that generates the text of `turn` again; None if its transcript does not say enough."""
        if turn.request is not None or self.is_conversation or is_masked(self._run) or turn.sampling is None:
            return turn.request
        if turn.run != self._run.id:  # of another run, whose recipe is not at hand
            return None
        checkpoint = inference_path(self._run, turn.checkpoint)
        cleaning = self._run.recipe.preprocess.steps
        return Generate(id=0, checkpoint=str(checkpoint), prompt=turn.prompt, sampling=turn.sampling, cleaning=cleaning)

    @property
    def storage_warning(self) -> str:
        """Why the transcript is not saved, if it is not."""
        if self._session is None or self._session.transcripts.kept:
            return ""
        if self._session.transcripts.taken:
            return "Another chat with this run is open: this conversation is not saved."
        return "The transcript cannot be written: this conversation is not saved."

    def start_new(self) -> None:
        """Start a new conversation with the next prompt; the transcript on the disk keeps the old one."""
        self._opened = SavedSession(id=new_session(), messages=[])
        self.turns = []

    def open(self, session: SavedSession) -> None:
        """Show an earlier session; the next prompt continues it."""
        self._opened = session
        self.turns = turns_of(session.messages, self._run.id, is_reply=self.is_conversation, masked=self.fills_gaps)

    def close(self) -> None:
        """Release the transcript, so that another program can chat with this run."""
        if self._session is not None:
            self._session.transcripts.close()


class PendingReply:
    """One turn while its text is generated, and that of the compared checkpoint."""

    def __init__(self, session: ChatSession, turn: Turn, request: Generate) -> None:
        self._session, self.turn, self._request = session, turn, request
        self._compared: tuple[ChatPrompt, Generate] | None = None

    def compare(self, start: ChatPrompt, request: Generate) -> None:
        """Also generate the text of `turn.compared`, with `request`."""
        self._compared = start, request

    async def run(self, on_end: Callable[[], None]) -> None:
        """Generate the text into `turn`. Errors become the status of the turn; `on_end` is called in every case."""
        streams = [_generate(self.turn, self._request, self._session.stream_reply(self._request))]
        recorder = None
        if self._compared is not None and self.turn.compared is not None:
            start, request = self._compared
            recorder = AnswerRecorder(request, self.turn.compared.checkpoint)
            streams.append(_generate(self.turn.compared, request, self._recorded(recorder, start, request)))
        try:
            await asyncio.gather(*streams)
        finally:
            if recorder is not None and self.turn.compared is not None and recorder.text:
                answer = ComparedAnswer(text=recorder.text, answer_info=recorder.info, run=self.turn.compared.run)
                self._session.add_compared(answer)
            on_end()

    async def _recorded(
        self, recorder: AnswerRecorder, start: ChatPrompt, request: Generate
    ) -> AsyncGenerator[AnyReply, None]:
        async with aclosing(self._session.stream_answer(start, request)) as replies:
            async for reply in replies:
                recorder.record(reply)
                yield reply


async def _generate(turn: Turn, request: Generate, stream: AsyncGenerator[AnyReply, None]) -> None:
    """Add what `stream` yields to `turn`."""
    started, count = 0.0, 0
    loop = asyncio.get_running_loop()
    try:
        async with aclosing(stream) as replies:
            async for reply in replies:
                if isinstance(reply, Loaded):
                    started = loop.time()
                if isinstance(reply, DenoisingState):
                    count = reply.tokens
                elif isinstance(reply, TextDelta) and not request.denoising_states:
                    count += 1
                _apply(turn, request, reply)
                if isinstance(reply, TextDelta | DenoisingState) and loop.time() > started:
                    turn.tokens_per_second = count / (loop.time() - started)
    except LlmtuiError as error:
        turn.failed, turn.status = True, error.what + (f"; {error.todo}" if error.todo else "")
    except asyncio.CancelledError:
        turn.status = "stopped"
    finally:
        turn.pending = False
        turn.masked_spans = tuple(structs.replace(span, new=False) for span in turn.masked_spans)


def _apply(turn: Turn, request: Generate, reply: AnyReply) -> None:
    match reply:
        case Loaded():
            turn.status, turn.mask_width = "writing", mask_width(turn.prompt, reply)
            turn.settings += precision_text(reply.precision)
            if reply.dropped_tokens:
                lost = plural(reply.dropped_tokens, "token")
                turn.settings += f" · without the first {lost} of the prompt, which is longer than the context"
        case TextDelta():
            turn.text += reply.text
            turn.surprise += surprise_of(reply)
            turn.masked_spans = ()
        case DenoisingState():
            turn.masked_spans = tuple(reply.spans)
            turn.status = f"{reply.tokens:,} of {plural(request.sampling.tokens, 'token')} unmasked"
        case TextEnded():
            turn.status = plural(reply.tokens, "token") + ENDS[reply.reason]
        case Finished():
            turn.tokens_per_second = reply.tokens / reply.seconds if reply.seconds > 0 else 0.0


def is_masked(run: Run) -> bool:
    """Whether the run trains a masked model."""
    return run.recipe.model.objective == "masked"


def _with_options(request: Generate, turn: Turn, settings: SamplerSettings, *, masked: bool) -> Generate:
    """`request` with the options of masked models, if it is for one."""
    if turn.suffix:
        request = structs.replace(request, prompt=turn.prompt)
    if not masked:
        return request
    return structs.replace(
        request,
        suffix=turn.suffix,
        order=settings.order,
        denoising_steps=settings.denoising_steps,
        denoising_states=True,
    )
