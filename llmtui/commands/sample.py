"""The command that lets a model write."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from core.artifact import Artifact, Damaged
from core.recipe_file import fields, load
from core.runs.directory import Run, find_run
from core.sample.protocol import Finished, Loaded, Refused, Text
from core.trouble import Trouble, Usage
from core.workspace import Workspace
from llmtui.commands.options import json_option, run_argument
from llmtui.console import out, out_json, say
from llmtui.sampler import Sampler


class CannotSample(Trouble):
    doing = "draw text"


class NoSuchCheckpoint(Usage):
    doing = "draw text"


_MEANING = {field.name: field.description for field in fields() if field.section == "sample"}


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
@click.option("--temperature", type=float, help=_MEANING["temperature"])
@click.option("--top-k", type=int, help=_MEANING["top_k"])
@click.option("--top-p", type=float, help=_MEANING["top_p"])
@click.option("--seed", type=int, help=_MEANING["seed"])
@click.option("--tokens", type=int, help=_MEANING["tokens"])
@json_option
def sample(wanted: str | None, prompt: str | None, checkpoint: str, as_json: bool, **asked: Any) -> None:
    """Let the model of RUN go on from PROMPT ("-" reads it from standard input), while it still trains or afterwards.

    What is not given is as in the run's recipe.
    """
    workspace = Workspace()
    run = find_run(workspace, wanted)
    overrides = [f"sample.{name}={value}" for name, value in asked.items() if value is not None]
    recipe = load(base=msgspec.to_builtins(run.recipe), overrides=overrides).sample
    if prompt == "-":
        prompt = sys.stdin.read()
    prompt = recipe.prompts[0] if prompt is None else prompt
    settings = {name: getattr(recipe, name) for name in asked}
    chosen = _choose(run, checkpoint)
    asyncio.run(_draw(workspace, chosen, prompt, settings, as_json))


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


async def _draw(
    workspace: Workspace, checkpoint: Artifact, prompt: str, settings: dict[str, Any], as_json: bool
) -> None:
    """Stream the text, or print all of it as one object. Raises CannotSample, SamplerDied."""
    sampler, pieces = Sampler(workspace), [prompt]
    loaded: Loaded | None = None
    try:
        async for reply in sampler.generate(str(checkpoint.path), prompt, **settings):
            match reply:
                case Loaded():
                    loaded = reply
                    if reply.dropped_tokens:
                        say(f"the prompt is longer than the context: {reply.dropped_tokens:,} tokens were left out")
                    if not as_json:
                        out(prompt, end="")
                case Text(text=text):
                    pieces.append(text)
                    if not as_json:
                        out(text, end="")
                case Refused():
                    raise CannotSample(reply.what, where=checkpoint.path.name, todo=reply.todo)
                case Finished() if as_json:
                    drawn = {"prompt": prompt, "text": "".join(pieces[1:]), "step": loaded.step if loaded else None}
                    told = {"reason": reply.reason, "tokens_drawn": reply.tokens, "seconds": reply.seconds}
                    out_json({"checkpoint": str(checkpoint.path)} | drawn | settings | told)
                case Finished():
                    out("")
    finally:
        await sampler.close()
