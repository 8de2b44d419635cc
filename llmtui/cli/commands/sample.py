"""`llmtui sample`: generate text with a run's model."""

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
from llmtui.cli.commands.checkpoint import checkpoint_option, checkpoint_path, print_loaded
from llmtui.cli.commands.group import CommandWithRenamedOptions
from llmtui.cli.commands.lookup import run_for_inference
from llmtui.cli.commands.options import (
    json_option,
    precision_option,
    resolve_prompt,
    run_argument,
    sampling_options,
    sampling_settings,
)
from llmtui.cli.console import print_json, print_message, print_output
from llmtui.cli.unmask_output import UnmaskingPrinter
from llmtui.clients.inference_client import InferenceClient
from llmtui.view.units import cost, perplexity

SCHEMA = 2
"""In 1, denoising_steps was called looks, and tokens_generated tokens_drawn."""


class SampleOptionError(UsageError):
    """The options contradict each other or the model."""

    doing = "generate text"


@click.command(
    cls=CommandWithRenamedOptions,
    renamed={"--looks": "--denoising-steps"},
    short_help="Generate text with a run's model.",
)
@run_argument()
@click.argument("prompt", required=False)
@checkpoint_option
@sampling_options
@click.option("--suffix", metavar="TEXT", help="Text after the generated text: fill in the middle, --tokens long.")
@click.option(
    "--order", type=click.Choice(get_args(UnmaskingOrder)), help="The order in which masked positions are unmasked."
)
@click.option(
    "--denoising-steps",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Forward passes per context of text, at most one per masked position; more are slower and better. "
    "Default: 64.",
)
@click.option("--show", is_flag=True, help="Show the text after each denoising step.")
@click.option(
    "--best-of",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Sample N texts and print them by their mean loss per token, lowest first.",
)
@click.option(
    "--beams",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Beam search with N beams instead of sampling; temperature, top-k and the like have no effect.",
)
@precision_option
@json_option
def sample(
    run_name: str | None,
    prompt: str | None,
    checkpoint: str,
    suffix: str | None,
    order: UnmaskingOrder | None,
    denoising_steps: int | None,
    show: bool,
    best_of: int | None,
    beams: int | None,
    precision: Precision,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Continue PROMPT ("-" reads it from standard input) with the model of RUN, during or after its training.

    Settings that are not given are those of the run's recipe. --suffix, --order, --denoising-steps and --show require
    a masked model, --best-of and --beams a causal one.
    """
    for_masked_models = suffix or order or denoising_steps or show
    if best_of and beams:
        raise SampleOptionError("--best-of and --beams exclude each other", todo="give one of them")
    if (best_of or beams) and for_masked_models:
        raise SampleOptionError(
            "--best-of and --beams require a causal model", todo="leave out the options for masked models"
        )
    if (best_of or beams) and precision not in ("auto", "float32"):
        raise SampleOptionError("--best-of and --beams compute in float32", todo="leave out --precision")
    workspace = Workspace()
    run = run_for_inference(workspace, run_name)
    if for_masked_models and run.recipe.model.objective != "masked":
        raise SampleOptionError(
            f"the model of {run.id} is causal: only a masked model fills in the middle or unmasks in another order",
            todo="leave out --suffix, --order, --denoising-steps and --show, or train with model.objective = masked",
        )
    if (best_of or beams) and run.recipe.model.objective == "masked":
        raise SampleOptionError(
            f"the model of {run.id} is masked: it has no likelihood from left to right, by which --best-of and --beams "
            "rank texts",
            todo="leave them out, or name a run whose model is causal",
        )
    settings = sampling_settings(run.recipe, overrides)
    text, sampling = resolve_prompt(prompt, settings), settings.sampling()
    path, cleaning = str(checkpoint_path(run, checkpoint)), run.recipe.preprocess.steps
    if count := best_of or beams:
        kind = BestOfN if best_of else BeamSearch
        ranking = kind(id=0, checkpoint=path, cleaning=cleaning, prompt=text, sampling=sampling, texts=count)
        asyncio.run(_print_ranked(workspace, ranking, as_json))
    else:
        request = Generate(
            id=0,
            checkpoint=path,
            cleaning=cleaning,
            prompt=text,
            sampling=sampling,
            suffix=suffix or "",
            order=order,
            denoising_steps=denoising_steps,
            denoising_states=show,
            precision=precision,
        )
        asyncio.run(_print_generated(workspace, request, show=show, as_json=as_json))


async def _print_generated(workspace: Workspace, request: Generate, *, show: bool, as_json: bool) -> None:
    """Print the text as it is generated, or all of it as one JSON object.

    Raises InferenceError, InferenceProcessError.
    """
    client, text = InferenceClient(workspace), ""
    record: dict[str, Any] = {"prompt": request.prompt} | structs.asdict(request.sampling)
    masked = {"suffix": request.suffix, "order": request.order, "denoising_steps": request.denoising_steps}
    record |= {name: value for name, value in masked.items() if value}
    unmasking = UnmaskingPrinter(request, as_json=as_json) if show else None
    streams = not as_json and not show
    line_open = False
    try:
        async with aclosing(client.stream(request)) as replies:
            async for reply in replies:
                match reply:
                    case Loaded():
                        record |= {"checkpoint": reply.checkpoint, "step": reply.step, "precision": reply.precision}
                        print_loaded(reply)
                        if unmasking:
                            unmasking.start(reply)
                        if streams:
                            print_output(request.prompt, end="")
                            line_open = bool(request.prompt)
                    case TextDelta():
                        text += reply.text
                        if streams:
                            print_output(reply.text, end="")
                            line_open = True
                    case DenoisingState() if unmasking:
                        unmasking.show(text, reply)
                    case TextEnded():
                        record |= {"reason": reply.reason}
                    case Finished() if as_json:
                        figures = {"tokens_generated": reply.tokens, "seconds": reply.seconds}
                        print_json(record | {"text": text} | figures, schema=SCHEMA)
                    case Finished() if unmasking:
                        unmasking.finish(text)
                    case Finished():
                        print_output(request.suffix)
                        line_open = False
    except LlmtuiError:
        if line_open:  # the error message starts on a new line
            print_output("")
        if unmasking:
            unmasking.abort()
        raise
    finally:
        await client.close()


async def _print_ranked(workspace: Workspace, request: BestOfN | BeamSearch, as_json: bool) -> None:
    """Print the texts by mean loss, lowest first, each with a line of figures on standard error, or as JSON objects.

    Raises InferenceError, InferenceProcessError.
    """
    client, checkpoint = InferenceClient(workspace), ""
    try:
        async with aclosing(client.stream(request)) as replies:
            async for reply in replies:
                match reply:
                    case Loaded(checkpoint=checkpoint):
                        print_loaded(reply)
                    case RankedText() if as_json:
                        record = structs.asdict(reply)
                        del record["id"]
                        print_json({"checkpoint": checkpoint, "prompt": request.prompt} | record)
                    case RankedText(nats_per_token=nats):
                        figures = f"{cost(nats)} nats per token, perplexity {perplexity(nats)}"
                        print_message(f"{reply.index + 1}. {figures}, {plural(reply.tokens, 'token')}")
                        print_output(request.prompt + reply.text)
    finally:
        await client.close()
