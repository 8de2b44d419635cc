"""The command that lets a model write."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click
from msgspec import structs

from core.artifact import Artifact, Damaged
from core.runs.directory import Run, find_run
from core.sample.protocol import Ended, Finished, Generate, Loaded, Refused, Text
from core.sampling import Sampling
from core.trouble import Trouble, Usage
from core.workspace import Workspace
from llmtui.commands.options import json_option, run_argument, sampling_options, sampling_settings
from llmtui.console import out, out_json, say
from llmtui.sampler import Sampler


class CannotSample(Trouble):
    doing = "draw text"


class NoSuchCheckpoint(Usage):
    doing = "draw text"


@click.command(short_help="Let a run's model go on from a prompt.")
@run_argument()
@click.argument("prompt", required=False)
@click.option(
    "--checkpoint",
    metavar="STEP|best|last",
    default="last",
    show_default=True,
    help="best: the lowest validation loss of those kept.",
)
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
    chosen = _choose(run, checkpoint)
    asyncio.run(_draw(workspace, chosen, prompt, recipe.sampling(), as_json))


def _choose(run: Run, wanted: str) -> Artifact:
    """The checkpoint `wanted` names: a step, best or last. Damaged ones are passed over, which is said."""
    paths = sorted(run.checkpoints.glob("step-*"), reverse=True)
    if wanted.isdecimal():
        named = [path for path in paths if _step(path) == int(wanted)]
        if not named:
            kept = ", ".join(str(_step(path)) for path in paths) or "none yet"
            raise NoSuchCheckpoint(f"there is no checkpoint of step {wanted}", where=run.id, todo=f"kept are: {kept}")
        return Artifact.open(named[0], verify=True)
    if wanted not in ("best", "last"):
        raise NoSuchCheckpoint(f"{wanted!r} names no checkpoint", todo="give a step, best or last")
    if wanted == "best":
        # as kept by the trainer: the lowest loss in its facts; those saved without an evaluation come last
        losses = {kept.path: float(kept.facts.get("slice_loss", float("inf"))) for kept in run.saved_checkpoints()}
        paths.sort(key=lambda path: losses.get(path, float("inf")))
    for path in paths:
        try:
            return Artifact.open(path, verify=True)
        except Damaged as damage:
            say(f"passing over {path.name}: {damage.what}")
    raise CannotSample(
        "no checkpoint can be read" if paths else "there is no checkpoint yet",
        where=run.id,
        todo=f"llmtui watch {run.id} shows how far it is",
    )


def _step(path: Path) -> int:
    digits = path.name.removeprefix("step-")
    return int(digits) if digits.isdecimal() else -1


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
