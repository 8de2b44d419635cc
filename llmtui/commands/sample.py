"""The command that lets a model write."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click
from msgspec import structs

from core.artifact import Artifact
from core.runs.directory import find_run
from core.sample.protocol import Ended, Finished, Generate, Loaded, Refused, Text
from core.sampling import Sampling
from core.trouble import Trouble
from core.workspace import Workspace
from llmtui.commands.checkpoint import checkpoint_option, choose
from llmtui.commands.options import json_option, run_argument, sampling_options, sampling_settings
from llmtui.console import out, out_json, say
from llmtui.sampler import Sampler


class CannotSample(Trouble):
    doing = "draw text"


@click.command(short_help="Let a run's model go on from a prompt.")
@run_argument()
@click.argument("prompt", required=False)
@checkpoint_option
@sampling_options
@json_option
def sample(wanted: str | None, prompt: str | None, checkpoint: str, as_json: bool, **asked: Any) -> None:
    """Let the model of RUN go on from PROMPT ("-" reads it from standard input), while it still trains or afterwards.

    What is not given is as in the run's recipe.
    """
    workspace = Workspace()
    run = find_run(workspace, wanted)
    recipe = sampling_settings(run.recipe, asked)
    if prompt == "-":
        prompt = sys.stdin.read()
    prompt = recipe.prompts[0] if prompt is None else prompt
    chosen = choose(run, checkpoint)
    asyncio.run(_draw(workspace, chosen, prompt, recipe.sampling(), as_json))


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
                    if reply.dropped_tokens:
                        say(f"the prompt is longer than the context: {reply.dropped_tokens:,} tokens were left out")
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
