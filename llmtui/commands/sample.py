"""The command that lets a model write."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, get_args

import click
from msgspec import structs

from core.runs.directory import find_run
from core.sample.protocol import Ended, Finished, Generate, Loaded, Refused, State, Text
from core.sampling import Order
from core.trouble import Trouble
from core.workspace import Workspace
from llmtui.commands.checkpoint import checkpoint_option, choose
from llmtui.commands.options import json_option, run_argument, sampling_options, sampling_settings
from llmtui.console import out, out_json, say
from llmtui.sampler import Sampler
from llmtui.uncovering import States


class CannotSample(Trouble):
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
@json_option
def sample(
    wanted: str | None,
    prompt: str | None,
    checkpoint: str,
    suffix: str | None,
    order: Order | None,
    looks: int | None,
    show: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Let the model of RUN go on from PROMPT ("-" reads it from standard input), while it still trains or afterwards.

    What is not given is as in the run's recipe. --suffix, --order, --looks and --show are for masked models.
    """
    workspace = Workspace()
    run = find_run(workspace, wanted)
    recipe = sampling_settings(run.recipe, asked)
    if prompt == "-":
        prompt = sys.stdin.read()
    prompt = recipe.prompts[0] if prompt is None else prompt
    chosen = choose(run, checkpoint)
    request = Generate(
        id=0,
        checkpoint=str(chosen.path),
        prompt=prompt,
        sampling=recipe.sampling(),
        suffix=suffix or "",
        order=order,
        looks=looks,
        states=show,
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
                    if reply.dropped_tokens:
                        say(f"the prompt is longer than the context: {reply.dropped_tokens:,} tokens were left out")
                    if reply.dropped_suffix_tokens:
                        say(f"the suffix is longer than its room: {reply.dropped_suffix_tokens:,} tokens were left out")
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
