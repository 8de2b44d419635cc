"""The command that lets a model write."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any, get_args

import click
from msgspec import structs

from core.errors import LlmtuiError, UsageError
from core.plural import plural
from core.recipe.sampling import Precision, UnmaskingOrder
from core.sample.protocol import (
    BeamSearch,
    BestOfN,
    DenoisingState,
    Finished,
    Generate,
    Loaded,
    RankedText,
    TextDelta,
    TextEnded,
)
from core.storage.workspace import Workspace
from llmtui.cli.commands.checkpoint import checkpoint_option, place_of, tell
from llmtui.cli.commands.lookup import run_with_checkpoint
from llmtui.cli.commands.options import (
    json_option,
    precision_option,
    prompt_of,
    run_argument,
    sampling_options,
    sampling_settings,
)
from llmtui.cli.console import out, out_json, say
from llmtui.cli.unmask_output import States
from llmtui.clients.inference_client import InferenceClient
from llmtui.view.units import cost, perplexity


class SampleOptionError(UsageError):
    doing = "draw text"


@click.command(short_help="Let a run's model go on from a prompt.")
@run_argument()
@click.argument("prompt", required=False)
@checkpoint_option
@sampling_options
@click.option("--suffix", metavar="TEXT", help="What follows: the model fills the middle, --tokens long.")
@click.option("--order", type=click.Choice(get_args(UnmaskingOrder)), help="Which hidden places are uncovered first.")
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
    order: UnmaskingOrder | None,
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
        raise SampleOptionError("--best-of and --beams are two ways to find a likely text", todo="give one of them")
    if (best_of or beams) and (suffix or order or looks or show):
        raise SampleOptionError(
            "likely texts are looked for with causal models", todo="leave out what is for masked ones"
        )
    if (best_of or beams) and precision not in ("auto", "float32"):
        raise SampleOptionError("likely texts are looked for in float32", todo="leave out --precision")
    workspace = Workspace()
    run = run_with_checkpoint(workspace, wanted)
    if (suffix or order or looks or show) and run.recipe.model.objective != "masked":
        raise SampleOptionError(
            f"the model of {run.id} is causal: only a masked one fills a middle or uncovers its text in another order",
            todo="leave out --suffix, --order, --looks and --show, or train with model.objective = masked",
        )
    settings = sampling_settings(run.recipe, asked)
    text, sampling = prompt_of(prompt, settings), settings.sampling()
    place, cleaning = str(place_of(run, checkpoint)), run.recipe.preprocess.steps
    if count := best_of or beams:
        kind = BestOfN if best_of else BeamSearch
        ranking = kind(id=0, checkpoint=place, cleaning=cleaning, prompt=text, sampling=sampling, texts=count)
        asyncio.run(_rank(workspace, ranking, as_json))
    else:
        request = Generate(
            id=0,
            checkpoint=place,
            cleaning=cleaning,
            prompt=text,
            sampling=sampling,
            suffix=suffix or "",
            order=order,
            denoising_steps=looks,
            denoising_states=show,
            precision=precision,
        )
        asyncio.run(_draw(workspace, request, show=show, as_json=as_json))


async def _draw(workspace: Workspace, request: Generate, *, show: bool, as_json: bool) -> None:
    """Stream the text, or print all of it as one object. Raises InferenceError, InferenceProcessError."""
    client, text = InferenceClient(workspace), ""
    told: dict[str, Any] = {"prompt": request.prompt} | structs.asdict(request.sampling)
    told |= {name: given for name in ("suffix", "order") if (given := getattr(request, name))}
    told |= {"looks": request.denoising_steps} if request.denoising_steps else {}
    states = States(request, as_json=as_json) if show else None
    streams = not as_json and not show
    open_line = False
    try:
        async with aclosing(client.stream(request)) as came:
            async for reply in came:
                match reply:
                    case Loaded():
                        told |= {"checkpoint": reply.checkpoint, "step": reply.step, "precision": reply.precision}
                        tell(reply)
                        if states:
                            states.loaded(reply)
                        if streams:
                            out(request.prompt, end="")
                            open_line = bool(request.prompt)
                    case TextDelta():
                        text += reply.text
                        if streams:
                            out(reply.text, end="")
                            open_line = True
                    case DenoisingState() if states:
                        states.show(text, reply)
                    case TextEnded():
                        told |= {"reason": reply.reason}
                    case Finished() if as_json:
                        out_json(told | {"text": text, "tokens_drawn": reply.tokens, "seconds": reply.seconds})
                    case Finished() if states:
                        states.end(text)
                    case Finished():
                        out(request.suffix)
                        open_line = False
    except LlmtuiError:
        if open_line:  # what is said about it does not belong to it
            out("")
        if states:
            states.leave()
        raise
    finally:
        await client.close()


async def _rank(workspace: Workspace, request: BestOfN | BeamSearch, as_json: bool) -> None:
    """Print the texts, the likeliest first, each behind a line about it or as an object. Raises InferenceError,
    InferenceProcessError."""
    client, checkpoint = InferenceClient(workspace), ""
    try:
        async with aclosing(client.stream(request)) as came:
            async for reply in came:
                match reply:
                    case Loaded(checkpoint=checkpoint):
                        tell(reply)
                    case RankedText() if as_json:
                        told = structs.asdict(reply)
                        del told["id"]
                        out_json({"checkpoint": checkpoint, "prompt": request.prompt} | told)
                    case RankedText(nats_per_token=nats):
                        figures = f"{cost(nats)} nats per token, perplexity {perplexity(nats)}"
                        say(f"{reply.index + 1}. {figures}, {plural(reply.tokens, 'token')}")
                        out(request.prompt + reply.text)
    finally:
        await client.close()
