"""One prompt of a chat and what was generated: of a transcript, or while it is generated. As data and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from core.checkpoints import step_of
from core.plural import plural
from core.recipe.sampling import Sampling
from core.runs.transcript import AnswerInfo, ChatMessage, ComparedAnswer
from core.sample.protocol import Generate, Span
from llmtui.view import units

GAP = "___"
"""What marks, in a prompt for a masked model, the place where text is filled in."""

ENDS = {"length": "", "end": ", ended by itself", "stop": ", ended at a stop string"}
"""What is said of each `core.sample.protocol.FinishReason`."""


class Turn(Struct, kw_only=True):
    """One prompt and its completion or reply."""

    prompt: str
    suffix: str = ""
    """Text after the generated text, which fills the gap between them."""
    settings: str = ""
    """Checkpoint, sampling settings and precision, in words."""
    checkpoint: str = ""
    """Directory name of the checkpoint; empty in transcripts that do not say it."""
    run: str = ""
    """Id of the checkpoint's run."""
    sampling: Sampling | None = None
    """With the stop strings of the chat template."""
    is_reply: bool = False
    """Whether the text replies to the prompt in a conversation, instead of continuing it."""
    text: str = ""
    surprise: list[tuple[int, float]] = []
    """As in `AnswerInfo`."""
    masked_spans: tuple[Span, ...] = ()
    """The text after `text` that a masked model is still unmasking."""
    mask_width: int = 1
    """Cells of one masked position."""
    status: str = "loading the checkpoint"
    """How generating it proceeds, or how it ended."""
    tokens_per_second: float = 0.0
    pending: bool = True
    failed: bool = False
    request: Generate | None = None
    """The request that generates the text; None in turns of a transcript."""
    compared: Turn | None = None
    """What another checkpoint generates from the same prompt and seed."""

    @property
    def typed(self) -> str:
        """The prompt as the user typed it."""
        return f"{self.prompt}{GAP}{self.suffix}" if self.suffix else self.prompt


def split_gap(typed: str, *, masked: bool) -> tuple[str, str]:
    """The text before and after the gap of a prompt for a masked model; a causal one has no gap."""
    before, gap, after = typed.partition(GAP) if masked else (typed, "", "")
    return (before, after) if gap and after else (typed, "")


def turns_of(messages: Iterable[ChatMessage], run: str, *, is_reply: bool, masked: bool) -> list[Turn]:
    """The turns of a transcript of the run with the id `run`."""
    turns: list[Turn] = []
    for message in messages:
        if message.role == "user":
            prompt, suffix = split_gap(message.text, masked=masked)
            turn = Turn(prompt=prompt, suffix=suffix, status="no answer", is_reply=is_reply, run=run, pending=False)
            turns.append(turn)
        elif message.role == "assistant" and turns and message.answer_info is not None:
            _add_answer(turns[-1], message.text, message.answer_info)
        if turns and message.compared is not None:
            turns[-1].compared = _compared_turn(turns[-1], message.compared)
    return turns


def _add_answer(turn: Turn, text: str, info: AnswerInfo) -> None:
    turn.text, turn.surprise, turn.checkpoint, turn.sampling = text, list(info.surprise), info.checkpoint, info.sampling
    turn.settings = settings_text(info.checkpoint, info.sampling, info.precision)
    turn.status = plural(info.tokens, "token") + ENDS[info.ended] if info.ended in ENDS else "stopped"


def _compared_turn(turn: Turn, answer: ComparedAnswer) -> Turn:
    compared = Turn(
        prompt=turn.prompt, suffix=turn.suffix, run=answer.run, is_reply=turn.is_reply, status="", pending=False
    )
    _add_answer(compared, answer.text, answer.answer_info)
    return compared


def settings_text(checkpoint: str, sampling: Sampling, precision: str = "") -> str:
    """checkpoint: its name; empty in transcripts that do not say it."""
    step = f"step {step_of(Path(checkpoint)):,} · " if checkpoint else ""
    settings = f"T {sampling.temperature:g} · k {sampling.top_k} · p {sampling.top_p:g} · seed {sampling.seed}"
    return step + settings + precision_text(precision)


def precision_text(precision: str) -> str:
    """The precision of the weights, unless it is the usual float32."""
    return "" if not precision or precision.startswith("float32") else f" · {precision.partition(',')[0]}"


def to_markdown(turns: Iterable[Turn], run_name: str) -> str:
    """The turns as a document. Texts are in fenced blocks, as a model may generate any Markdown."""
    parts = [f"# Chat with {run_name}"]
    for turn in turns:
        parts += ["## Prompt", _fenced(turn.typed)]
        for number, answer in enumerate([turn, turn.compared] if turn.compared else [turn]):
            title = "Reply" if turn.is_reply else "Generated"
            parts += [f"## {title}" + (f" {'AB'[number]}" if turn.compared else ""), _fenced(answer.text)]
            speed = f", {units.rate(answer.tokens_per_second, 'tok')}" if answer.tokens_per_second else ""
            parts.append(f"{answer.status}{speed}" + (f" · {answer.settings}" if answer.settings else ""))
    return "\n\n".join(parts) + "\n"


def _fenced(text: str) -> str:
    """`text` in a code block whose fence is longer than any in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"
