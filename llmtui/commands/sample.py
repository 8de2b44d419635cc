"""The command that lets a model write."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, Literal, get_args

import click
from msgspec import structs

from core.runs.directory import find_run
from core.sample.protocol import Ended, Finished, Generate, Likeliest, Loaded, Ranked, Refused, State, Text
from core.sampling import Order, Precision
from core.trouble import Trouble, Usage
from core.workspace import Workspace
from llmtui.commands.checkpoint import checkpoint_option, choose
from llmtui.commands.options import json_option, precision_option, run_argument, sampling_options, sampling_settings
from llmtui.console import out, out_json, say
from llmtui.sampler import Sampler
from llmtui.uncovering import States
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
@click.option("--suffix", metavar="TEXT", help="What follows: the model fills the middle, --tokens long.")
@click.option("--order", type=click.Choice(get_args(Order)), help="Which hidden places are uncovered first.")
@click.option(
    "--looks",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="How often the model looks at what it uncovers; fewer is faster, more is better; at most 64 when not given.",
)
@click.option("--show", is_flag=True, help="Show how the text is uncovered: its state after each look.")
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
@precision_option
@json_option
def sample(
    wanted: str | None,
    prompt: str | None,
    checkpoint: str,
    suffix: str | None,
    order: Order | None,
    looks: int | None,
    show: bool,
    best_of: int | None,
    beams: int | None,
    precision: Precision,
    as_json: bool,
    **asked: Any,
) -> None:
    """Let the model of RUN go on from PROMPT ("-" reads it from standard input), while it still trains or afterwards.

    What is not given is as in the run's recipe. --suffix, --order, --looks and --show are for masked models.
    """
    if best_of and beams:
        raise BadQuestion("--best-of and --beams are two ways to find a likely text", todo="give one of them")
    if (best_of or beams) and (suffix or order or looks or show):
        raise BadQuestion("likely texts are looked for with causal models", todo="leave out what is for masked ones")
    workspace = Workspace()
    run = find_run(workspace, wanted)
    recipe = sampling_settings(run.recipe, asked)
    if prompt == "-":
        prompt = sys.stdin.read()
    prompt = recipe.prompts[0] if prompt is None else prompt
    chosen = choose(run, checkpoint)
    path, sampling = str(chosen.path), recipe.sampling()
    if count := best_of or beams:
        kind: Literal["drawn", "beams"] = "drawn" if best_of else "beams"
        ranking = Likeliest(id=0, checkpoint=path, prompt=prompt, kind=kind, sampling=sampling, texts=count)
        asyncio.run(_rank(workspace, ranking, as_json))
    else:
        request = Generate(
            id=0,
            checkpoint=path,
            prompt=prompt,
            sampling=sampling,
            suffix=suffix or "",
            order=order,
            looks=looks,
            states=show,
            precision=precision,
        )
        asyncio.run(_draw(workspace, request, show=show, as_json=as_json))


async def _draw(workspace: Workspace, request: Generate, *, show: bool, as_json: bool) -> None:
    """Stream the text, or print all of it as one object. Raises CannotSample, SamplerDied."""
    sampler, text = Sampler(workspace), ""
    told: dict[str, Any] = {"checkpoint": request.checkpoint, "prompt": request.prompt}
    told |= structs.asdict(request.sampling)
    told |= {name: given for name in ("suffix", "order", "looks") if (given := getattr(request, name))}
    states = States(request, as_json=as_json) if show else None
    streams = not as_json and not show
    try:
        async for reply in sampler.ask(request):
            match reply:
                case Loaded():
                    told |= {"step": reply.step, "precision": reply.precision}
                    _tell(reply)
                    if states:
                        states.loaded(reply)
                    if streams:
                        out(request.prompt, end="")
                case Text():
                    text += reply.text
                    if streams:
                        out(reply.text, end="")
                case State() if states:
                    states.show(text, reply)
                case Ended():
                    told |= {"reason": reply.reason}
                case Refused():
                    raise CannotSample(reply.what, where=Path(request.checkpoint).name, todo=reply.todo)
                case Finished() if as_json:
                    out_json(told | {"text": text, "tokens_drawn": reply.tokens, "seconds": reply.seconds})
                case Finished() if states:
                    states.end(text)
                case Finished():
                    out(request.suffix)
    finally:
        await sampler.close()


async def _rank(workspace: Workspace, request: Likeliest, as_json: bool) -> None:
    """Print the texts, the likeliest first, each behind a line about it or as an object. Raises CannotSample,
    SamplerDied."""
    sampler = Sampler(workspace)
    try:
        async for reply in sampler.ask(request):
            match reply:
                case Loaded():
                    _tell(reply)
                case Ranked() if as_json:
                    told = structs.asdict(reply)
                    del told["id"]
                    out_json({"checkpoint": request.checkpoint, "prompt": request.prompt} | told)
                case Ranked(nats_per_token=nats):
                    figures = f"{cost(nats)} nats per token, perplexity {perplexity(nats)}, {reply.tokens:,} tokens"
                    say(f"{reply.index + 1}. {figures}")
                    out(request.prompt + reply.text)
                case Refused():
                    raise CannotSample(reply.what, where=Path(request.checkpoint).name, todo=reply.todo)
    finally:
        await sampler.close()


def _tell(loaded: Loaded) -> None:
    """What a person should know before the text."""
    for damage in loaded.passed_over:
        say(f"passing over {damage}")
    if not loaded.precision.startswith("float32"):
        say(f"weights in {loaded.precision}")
    if loaded.dropped_tokens:
        say(f"the prompt is longer than the context: {loaded.dropped_tokens:,} tokens were left out")
    if loaded.dropped_suffix_tokens:
        say(f"the suffix is longer than its room: {loaded.dropped_suffix_tokens:,} tokens were left out")
