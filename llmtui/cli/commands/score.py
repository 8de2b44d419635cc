"""The command that says what a text costs under a run's model."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import aclosing
from pathlib import Path

import click
from msgspec import structs

from core.errors import LlmtuiError
from core.sample.protocol import Loaded, Score, ScoreProgress, ScoreResult
from core.storage.workspace import Workspace
from llmtui.cli.commands.checkpoint import as_cleaned, checkpoint_option, place_of, tell
from llmtui.cli.commands.lookup import run_with_checkpoint
from llmtui.cli.commands.options import NAMED, TextArgumentError, json_option, run_option, text_of
from llmtui.cli.console import out, out_json, say
from llmtui.clients.inference_client import InferenceClient, InferenceError
from llmtui.view.table import table
from llmtui.view.units import cost, duration, perplexity, rate

SPEAK_EVERY = 2.0
"""Seconds between two lines about how far it is."""


class ScoreError(LlmtuiError):
    doing = "score the text"


@click.command(short_help="Say what a text costs under a run's model.")
@click.argument("files", type=NAMED, metavar="FILE...", nargs=-1, required=True)
@run_option
@checkpoint_option
@json_option
def score(files: tuple[str, ...], wanted: str | None, checkpoint: str, as_json: bool) -> None:
    """Say what each FILE ("-" is standard input) costs under a run's model: nats per token, perplexity, bits per byte.

    Each token is predicted from those before it, the first from an end-of-text mark. When a context is full its
    newest half begins the next, so that behind the first half context every token has at least that much before it.
    Line ends, Unicode and what else the run's recipe made alike in the training text are made alike here, too, which is
    said. Of a masked model it is a bound (≤), estimated with the same tokens hidden every time. All is done in float32.
    """
    workspace = Workspace()
    run = run_with_checkpoint(workspace, wanted)
    texts = [(name, _read(name)) for name in files]
    scored: list[tuple[str, ScoreResult]] = []
    try:
        asyncio.run(_score(workspace, place_of(run, checkpoint), run.recipe.preprocess.steps, texts, scored, as_json))
    finally:  # what has been found stands, whatever ends it
        if scored and not as_json:
            out(table([("FILE", "TOKENS", "NATS/TOKEN", "PERPLEXITY", "BITS/BYTE"), *map(_row, scored)]))
            for name, found in scored:
                if count := found.short_context_tokens:
                    say(f"{name}: {count:,} of its tokens were predicted from less than half a context")


def _read(name: str) -> str:
    """The text of a file, or of standard input. Raises TextArgumentError."""
    text = text_of(name)
    if "\0" in text:
        raise TextArgumentError("it is no text: there are NUL bytes in it", where=name)
    if not text:
        raise TextArgumentError("there is nothing in it", where=name)
    return text


async def _score(
    workspace: Workspace,
    place: Path,
    cleaning: tuple[str, ...],
    texts: list[tuple[str, str]],
    scored: list[tuple[str, ScoreResult]],
    as_json: bool,
) -> None:
    """Put into `scored` what each of `texts` costs, all under the same weights.

    Raises ScoreError, InferenceProcessError.
    """
    client, checkpoint = InferenceClient(workspace), str(place)
    try:
        for name, text in texts:
            request = Score(id=0, checkpoint=checkpoint, cleaning=cleaning, text=text)
            began = spoke = 0.0
            async with aclosing(client.stream(request)) as came:
                async for reply in came:
                    match reply:
                        case Loaded(checkpoint=checkpoint):
                            tell(structs.replace(reply, changed_by=()))
                            if reply.changed_by:
                                say(as_cleaned(reply, name))
                            began = spoke = time.monotonic()
                        case ScoreProgress(done=done, total=total) if (now := time.monotonic()) - spoke >= SPEAK_EVERY:
                            speed, spoke = done / (now - began), now
                            left = duration((total - done) / speed)
                            say(f"{name}: {done / total:.0%}, {rate(speed, 'tok')}, {left} left")
                        case ScoreResult():
                            scored.append((name, reply))
                            if as_json:
                                out_json(_record(name, checkpoint, reply))
    except InferenceError as refused:
        raise ScoreError(refused.what, where=name, todo=refused.todo) from None
    finally:
        await client.close()


def _record(name: str, checkpoint: str, found: ScoreResult) -> dict[str, object]:
    said = structs.asdict(found)
    del said["id"]
    said["few_before"] = said.pop("short_context_tokens")
    loss = found.nats / found.tokens
    figures = {"nats_per_token": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}
    return {"file": name, "checkpoint": checkpoint} | said | figures


def _row(scored: tuple[str, ScoreResult]) -> tuple[str, ...]:
    name, found = scored
    loss = found.nats / found.tokens
    return (
        name,
        f"{found.tokens:,}",
        cost(loss, bound=found.bound),
        perplexity(loss, bound=found.bound),
        cost(found.bits_per_byte, bound=found.bound),
    )
