"""`llmtui xray`: inspect next-token prediction: attention, logit lens, token losses, sampling steps, weights."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import aclosing
from typing import Any

import click
from click import Context, Parameter

from core.errors import LlmtuiError, UsageError
from core.sample.inspect_protocol import AttentionHead, InspectOptions
from core.sample.protocol import Inspected, InspectModel, InspectPrompt, Loaded
from core.storage.workspace import Workspace
from llmtui.cli.commands.checkpoint import checkpoint_option, checkpoint_path, print_loaded
from llmtui.cli.commands.group import CommandWithRenamedOptions
from llmtui.cli.commands.lookup import run_for_inference
from llmtui.cli.commands.options import json_option, resolve_prompt, run_option, sampling_options, sampling_settings
from llmtui.cli.console import print_json, print_output
from llmtui.clients.inference_client import InferenceClient, InferenceError
from llmtui.view.inspect_report import InspectReport


class InspectError(LlmtuiError):
    """The inference process refused the request."""

    doing = "inspect the model"


class InspectOptionError(UsageError):
    """The options contradict each other."""

    doing = "inspect the model"


def _parse_heads(context: Context, parameter: Parameter, values: tuple[str, ...]) -> tuple[AttentionHead, ...]:
    """Attention heads, or all heads of a layer, from LAYER.HEAD or LAYER."""
    heads = []
    for text in values:
        layer, point, head = text.partition(".")
        if not (layer.isdecimal() and int(layer) > 0 and (not point or (head.isdecimal() and int(head) > 0))):
            raise click.BadParameter(f"{text!r} is not LAYER or LAYER.HEAD, both from 1, such as 3 or 3.2")
        heads.append(AttentionHead(int(layer), int(head) if point else None))
    return tuple(heads)


@click.command(
    cls=CommandWithRenamedOptions,
    renamed={"--lens": "--logit-lens", "--surprise": "--token-losses", "--model": "--weights"},
    short_help="Inspect a model: attention, logit lens, token losses, weights.",
)
@click.argument("prompt", required=False)
@run_option
@checkpoint_option
@click.option(
    "--attention",
    multiple=True,
    metavar="LAYER[.HEAD]",
    callback=_parse_heads,
    help="Show the attention weights of one head, or of all heads of a layer; both count from 1. May be repeated.",
)
@click.option("--logit-lens", is_flag=True, help="Show the next token that each layer's output predicts.")
@click.option("--token-losses", is_flag=True, help="Show the loss of each token of the prompt.")
@click.option("--weights", is_flag=True, help="List the model's tensors and their norms instead; takes no prompt.")
@sampling_options
@json_option
def xray(
    run_name: str | None,
    prompt: str | None,
    checkpoint: str,
    attention: tuple[AttentionHead, ...],
    logit_lens: bool,
    token_losses: bool,
    weights: bool,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Inspect how the model predicts the next token after PROMPT ("-" reads it from standard input).

    Shows the steps of generation with their numbers: token ids, the matrix of logits, its last row, probabilities
    after each sampling setting, the sampled token, the text with the token appended. Generates one token unless
    --tokens is given; other settings that are not given are those of the run's recipe. Computes in float32; the same
    seed samples what `llmtui sample --precision float32` samples. A masked model unmasks one position after the text
    at a time.
    """
    has_overrides = any(value not in (None, (), {}) for value in overrides.values())
    if weights and (prompt is not None or attention or logit_lens or token_losses or has_overrides):
        raise InspectOptionError(
            "--weights takes no prompt and no other option", todo="leave out --weights or the rest"
        )
    workspace = Workspace()
    run = run_for_inference(workspace, run_name)
    path, width = str(checkpoint_path(run, checkpoint)), shutil.get_terminal_size().columns
    overrides["tokens"] = 1 if overrides["tokens"] is None else overrides["tokens"]
    settings = sampling_settings(run.recipe, overrides)
    if weights:
        request: InspectPrompt | InspectModel = InspectModel(id=0, checkpoint=path, precision="float32")
    else:
        columns = max(3, min(10, (width - 30) // 9))
        options = InspectOptions(columns=columns, logit_lens=logit_lens, attention=attention, surprisal=token_losses)
        request = InspectPrompt(
            id=0,
            checkpoint=path,
            cleaning=run.recipe.preprocess.steps,
            precision="float32",
            prompt=resolve_prompt(prompt, settings),
            sampling=settings.sampling(),
            options=options,
        )
    report = InspectReport(width=width, greedy=settings.temperature == 0)
    asyncio.run(_print_report(workspace, run.id, request, None if as_json else report))


async def _print_report(
    workspace: Workspace, run_id: str, request: InspectPrompt | InspectModel, report: InspectReport | None
) -> None:
    """Print the replies as they come, as sections of `report`, or as JSON objects if it is None.

    Raises InspectError, InferenceProcessError.
    """
    client = InferenceClient(workspace)
    try:
        async with aclosing(client.stream(request)) as replies:
            async for reply in replies:
                match reply:
                    case Loaded():
                        print_loaded(reply)
                        if report is None:
                            print_json({"type": "loaded", "checkpoint": reply.checkpoint, "step": reply.step})
                        else:
                            print_output(f"{run_id}, step {reply.step:,}, {reply.precision}\n")
                    case Inspected(result=result) if report is None:
                        print_json(result)
                    case Inspected(result=result) if report is not None:
                        for section in report.sections(result):
                            print_output(section + "\n")
    except InferenceError as error:
        raise InspectError(error.what, where=error.where, todo=error.todo) from None
    finally:
        await client.close()
