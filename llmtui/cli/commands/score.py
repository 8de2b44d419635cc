"""`llmtui score`: the loss of texts under a run's model."""

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
from core.text_encoding import decode_detected
from llmtui.cli.commands.checkpoint import checkpoint_option, checkpoint_path, cleaning_message, print_loaded
from llmtui.cli.commands.lookup import run_for_inference
from llmtui.cli.commands.options import NAME, TextArgumentError, json_option, read_bytes, run_option
from llmtui.cli.console import print_json, print_message, print_output
from llmtui.clients.inference_client import InferenceClient, InferenceError
from llmtui.view.table import table
from llmtui.view.units import cost, duration, perplexity, rate

PROGRESS_INTERVAL = 2.0
"""Seconds between two lines of progress."""


class ScoreError(LlmtuiError):
    doing = "score the text"


@click.command(short_help="Compute the loss of texts under a run's model.")
@click.argument("files", type=NAME, metavar="FILE...", nargs=-1, required=True)
@run_option
@checkpoint_option
@json_option
def score(files: tuple[str, ...], run_name: str | None, checkpoint: str, as_json: bool) -> None:
    """Compute the loss of each FILE ("-" is standard input) under a run's model: nats per token, perplexity, bits per
    byte.

    Each token is predicted from the tokens before it, the first from an end-of-text token. Longer texts are scored
    with a window that moves by half a context, so that after the first half context every token has at least that
    much context. The encoding of a file is detected as in training. The text is cleaned like the training text, with a
    message if that changes it. For a masked model the loss is an upper bound (≤), estimated with a fixed seed. Computes
    in float32.
    """
    workspace = Workspace()
    run = run_for_inference(workspace, run_name)
    texts = [(name, _read(name, run.recipe.source.encoding)) for name in files]
    scored: list[tuple[str, ScoreResult]] = []
    try:
        asyncio.run(
            _score(workspace, checkpoint_path(run, checkpoint), run.recipe.preprocess.steps, texts, scored, as_json)
        )
    finally:  # after an error or Ctrl+C, too: print the losses computed so far
        if scored and not as_json:
            print_output(table([("FILE", "TOKENS", "NATS/TOKEN", "PERPLEXITY", "BITS/BYTE"), *map(_table_row, scored)]))
            for name, found in scored:
                if count := found.short_context_tokens:
                    print_message(f"{name}: {count:,} of its tokens were predicted from less than half a context")


def _read(name: str, declared: str) -> str:
    """The text of a file, or of standard input, in any encoding; a message names one other than UTF-8.

    declared: the encoding that the recipe sets for its source. Raises TextArgumentError.
    """
    raw = read_bytes(name)
    if not raw:
        raise TextArgumentError("the file is empty", where=name)
    text, encoding = decode_detected(raw, declared)
    if not encoding:
        raise TextArgumentError("not a text file: it is binary", where=name)
    if encoding != "utf-8":
        print_message(f"{name} is read as {encoding}")
    return text


async def _score(
    workspace: Workspace,
    path: Path,
    cleaning: tuple[str, ...],
    texts: list[tuple[str, str]],
    scored: list[tuple[str, ScoreResult]],
    as_json: bool,
) -> None:
    """Append the losses of `texts`, all under the same weights, to `scored`.

    Raises ScoreError, InferenceProcessError.
    """
    client, checkpoint = InferenceClient(workspace), str(path)
    try:
        for name, text in texts:
            request = Score(id=0, checkpoint=checkpoint, cleaning=cleaning, text=text)
            started = printed = 0.0
            async with aclosing(client.stream(request)) as replies:
                async for reply in replies:
                    match reply:
                        case Loaded(checkpoint=checkpoint):
                            print_loaded(structs.replace(reply, changed_by=()))
                            if reply.changed_by:
                                print_message(cleaning_message(reply, name))
                            started = printed = time.monotonic()
                        case ScoreProgress(done=done, total=total) if (
                            now := time.monotonic()
                        ) - printed >= PROGRESS_INTERVAL:
                            speed, printed = done / (now - started), now
                            left = duration((total - done) / speed)
                            print_message(f"{name}: {done / total:.0%}, {rate(speed, 'tok')}, {left} left")
                        case ScoreResult():
                            scored.append((name, reply))
                            if as_json:
                                print_json(_record(name, checkpoint, reply))
    except InferenceError as error:
        raise ScoreError(error.what, where=name, todo=error.todo) from None
    finally:
        await client.close()


def _record(name: str, checkpoint: str, found: ScoreResult) -> dict[str, object]:
    record = structs.asdict(found)
    del record["id"]
    record["few_before"] = record.pop("short_context_tokens")
    loss = found.nats / found.tokens
    figures = {"nats_per_token": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}
    return {"file": name, "checkpoint": checkpoint} | record | figures


def _table_row(scored: tuple[str, ScoreResult]) -> tuple[str, ...]:
    name, found = scored
    loss = found.nats / found.tokens
    return (
        name,
        f"{found.tokens:,}",
        cost(loss, bound=found.bound),
        perplexity(loss, bound=found.bound),
        cost(found.bits_per_byte, bound=found.bound),
    )
