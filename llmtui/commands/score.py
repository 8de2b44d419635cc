"""The command that says what a text costs under a run's model."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from pathlib import Path

import click
from msgspec import structs

from core.artifact import Artifact
from core.runs.directory import find_run
from core.sample.protocol import Loaded, Refused, Score, Scored, Scoring
from core.trouble import Trouble, Usage
from core.workspace import Workspace
from llmtui.commands.checkpoint import checkpoint_option, choose
from llmtui.commands.options import json_option, run_option
from llmtui.console import out, out_json, say, table
from llmtui.sampler import Sampler
from llmtui.units import cost, duration, perplexity, rate

SPEAK_EVERY = 5.0
"""Seconds between two lines about how far it is."""


class CannotScore(Trouble):
    doing = "score the text"


class NoText(Usage):
    doing = "score the text"


@click.command(short_help="Say what a text costs under a run's model.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@run_option
@checkpoint_option
@json_option
def score(files: tuple[str, ...], wanted: str | None, checkpoint: str, as_json: bool) -> None:
    """Say what each FILE ("-" is standard input) costs under a run's model: nats per token, perplexity, bits per byte.

    Each token is predicted from those before it, the first from an end-of-text mark. When a context is full its
    newest half begins the next, so that behind the first half context every token has at least that much before it.
    Of a masked model it is a bound (≤), estimated with the same tokens hidden every time. All is done in float32.
    """
    workspace = Workspace()
    run = find_run(workspace, wanted)
    texts = {name: _read(name) for name in files}
    scored = asyncio.run(_score(workspace, choose(run, checkpoint), texts, as_json))
    if not as_json:
        out(table([("FILE", "TOKENS", "NATS/TOKEN", "PERPLEXITY", "BITS/BYTE"), *map(_row, scored.items())]))
        for name, found in scored.items():
            if found.few_before:
                say(f"{name}: {found.few_before:,} of its tokens were predicted from less than half a context")


def _read(name: str) -> str:
    """The text of a file, or of standard input. Raises NoText."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        text = data.decode()
    except UnicodeDecodeError as error:
        raise NoText(f"it is not UTF-8 text (byte {error.start:,})", where=name) from None
    except OSError as error:
        raise NoText((error.strerror or str(error)).lower(), where=name) from None
    if "\0" in text:
        raise NoText("it is no text: there are NUL bytes in it", where=name)
    if not text:
        raise NoText("there is nothing in it", where=name)
    return text


async def _score(workspace: Workspace, checkpoint: Artifact, texts: dict[str, str], as_json: bool) -> dict[str, Scored]:
    """What each of `texts` costs. Raises CannotScore, SamplerDied."""
    sampler, scored = Sampler(workspace), dict[str, Scored]()
    try:
        for name, text in texts.items():
            request = Score(id=0, checkpoint=str(checkpoint.path), text=text)
            began = spoke = 0.0
            async for reply in sampler.ask(request):
                match reply:
                    case Loaded():
                        began = spoke = time.monotonic()
                    case Scoring(done=done, total=total) if (now := time.monotonic()) - spoke >= SPEAK_EVERY:
                        speed, spoke = done / (now - began), now
                        left = duration((total - done) / speed)
                        say(f"{name}: {done / total:.0%}, {rate(speed, 'tok')}, {left} left")
                    case Scored():
                        scored[name] = reply
                        if as_json:
                            out_json(_record(name, checkpoint, reply))
                    case Refused():
                        raise CannotScore(reply.what, where=name, todo=reply.todo)
    finally:
        await sampler.close()
    return scored


def _record(name: str, checkpoint: Artifact, found: Scored) -> dict[str, object]:
    said = structs.asdict(found)
    del said["id"]
    loss = found.nats / found.tokens
    figures = {"nats_per_token": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}
    return {"file": name, "checkpoint": str(checkpoint.path)} | said | figures


def _row(scored: tuple[str, Scored]) -> tuple[str, ...]:
    name, found = scored
    loss = found.nats / found.tokens
    return (
        name,
        f"{found.tokens:,}",
        cost(loss, bound=found.bound),
        perplexity(loss, bound=found.bound),
        cost(found.bits_per_byte, bound=found.bound),
    )
