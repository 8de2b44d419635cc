"""The command that lets a model write."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Literal

import click
from msgspec import structs

from core.artifact import Artifact
from core.runs.directory import find_run
from core.sample.protocol import Ended, Finished, Generate, Likeliest, Loaded, Ranked, Refused, Text
from core.sampling import Sampling
from core.trouble import Trouble, Usage
from core.workspace import Workspace
from llmtui.commands.checkpoint import checkpoint_option, choose
from llmtui.commands.options import json_option, run_argument, sampling_options, sampling_settings
from llmtui.console import out, out_json, say
from llmtui.sampler import Sampler
from llmtui.units import cost, perplexity


class CannotSample(Trouble):
    doing = "draw text"


class BadQuestion(Usage):
    doing = "draw text"


@click.command(short_help="Let a run's model go on from a prompt.")
@run_argument()
@click.argument("prompt", required=False)
@checkpoint_option
@sampling_options
@click.option(
    "--best-of",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Draw N texts and print them by what their tokens cost on average under the model, the likeliest first.",
)
@click.option(
    "--beams",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Draw nothing: look for the N likeliest texts with N beams. What bends the drawing changes nothing here.",
)
@json_option
def sample(
    wanted: str | None,
    prompt: str | None,
    checkpoint: str,
    best_of: int | None,
    beams: int | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Let the model of RUN go on from PROMPT ("-" reads it from standard input), while it still trains or afterwards.

    What is not given is as in the run's recipe.
    """
    if best_of and beams:
        raise BadQuestion("--best-of and --beams are two ways to find a likely text", todo="give one of them")
    workspace = Workspace()
    run = find_run(workspace, wanted)
    recipe = sampling_settings(run.recipe, asked)
    if prompt == "-":
        prompt = sys.stdin.read()
    prompt = recipe.prompts[0] if prompt is None else prompt
    chosen = choose(run, checkpoint)
    sampling = recipe.sampling()
    if count := best_of or beams:
        kind: Literal["drawn", "beams"] = "drawn" if best_of else "beams"
        path = str(chosen.path)
        asked_for = Likeliest(id=0, checkpoint=path, prompt=prompt, kind=kind, sampling=sampling, texts=count)
        asyncio.run(_rank(workspace, chosen, asked_for, as_json))
    else:
        asyncio.run(_draw(workspace, chosen, prompt, sampling, as_json))


async def _draw(workspace: Workspace, checkpoint: Artifact, prompt: str, sampling: Sampling, as_json: bool) -> None:
    """Stream the text, or print all of it as one object. Raises CannotSample, SamplerDied."""
    sampler, pieces = Sampler(workspace), [prompt]
    told: dict[str, Any] = {"checkpoint": str(checkpoint.path), "prompt": prompt} | structs.asdict(sampling)
    request = Generate(id=0, checkpoint=str(checkpoint.path), prompt=prompt, sampling=sampling)
    try:
        async for reply in sampler.ask(request):
            match reply:
                case Loaded():
                    told |= {"step": reply.step, "precision": reply.precision}
                    _tell_dropped(reply)
                    if not as_json:
                        out(prompt, end="")
                case Text(text=text):
                    pieces.append(text)
                    if not as_json:
                        out(text, end="")
                case Ended():
                    told |= {"reason": reply.reason}
                case Refused():
                    raise CannotSample(reply.what, where=checkpoint.path.name, todo=reply.todo)
                case Finished() if as_json:
                    out_json(
                        told | {"text": "".join(pieces[1:]), "tokens_drawn": reply.tokens, "seconds": reply.seconds}
                    )
                case Finished():
                    out("")
    finally:
        await sampler.close()


async def _rank(workspace: Workspace, checkpoint: Artifact, request: Likeliest, as_json: bool) -> None:
    """Print the texts, the likeliest first, each behind a line about it or as an object. Raises CannotSample,
    SamplerDied."""
    sampler = Sampler(workspace)
    try:
        async for reply in sampler.ask(request):
            match reply:
                case Loaded():
                    _tell_dropped(reply)
                case Ranked() if as_json:
                    told = structs.asdict(reply)
                    del told["id"]
                    out_json({"checkpoint": str(checkpoint.path), "prompt": request.prompt} | told)
                case Ranked(nats_per_token=nats):
                    figures = f"{cost(nats)} nats per token, perplexity {perplexity(nats)}, {reply.tokens:,} tokens"
                    say(f"{reply.index + 1}. {figures}")
                    out(request.prompt + reply.text)
                case Refused():
                    raise CannotSample(reply.what, where=checkpoint.path.name, todo=reply.todo)
    finally:
        await sampler.close()


def _tell_dropped(loaded: Loaded) -> None:
    if loaded.dropped_tokens:
        say(f"the prompt is longer than the context: {loaded.dropped_tokens:,} tokens were left out")
