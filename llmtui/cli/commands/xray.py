"""The command that shows how a model comes to its words."""

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
from llmtui.cli.commands.checkpoint import checkpoint_option, place_of, tell
from llmtui.cli.commands.lookup import run_with_checkpoint
from llmtui.cli.commands.options import json_option, prompt_of, run_option, sampling_options, sampling_settings
from llmtui.cli.console import out, out_json
from llmtui.clients.inference_client import InferenceClient, InferenceError
from llmtui.view.inspect_report import Teller


class InspectError(LlmtuiError):
    doing = "look into the model"


class InspectOptionError(UsageError):
    doing = "look into the model"


def _heads(context: Context, parameter: Parameter, given: tuple[str, ...]) -> tuple[AttentionHead, ...]:
    """The heads that LAYER or LAYER.HEAD name."""
    heads = []
    for text in given:
        layer, point, head = text.partition(".")
        if not (layer.isdecimal() and int(layer) > 0 and (not point or (head.isdecimal() and int(head) > 0))):
            raise click.BadParameter(f"{text!r} is no LAYER or LAYER.HEAD; both count from 1, as in 3 or 3.2")
        heads.append(AttentionHead(int(layer), int(head) if point else None))
    return tuple(heads)


@click.command(short_help="Show step by step how a model comes to its next token.")
@click.argument("prompt", required=False)
@run_option
@checkpoint_option
@click.option(
    "--attention",
    multiple=True,
    metavar="LAYER[.HEAD]",
    callback=_heads,
    help="Show what the tokens look at, in one head or all of a layer; both count from 1. May be repeated.",
)
@click.option("--lens", is_flag=True, help="Show what each layer would have said.")
@click.option("--surprise", is_flag=True, help="Show how surprised the model is by each token of the prompt.")
@click.option("--model", "picture", is_flag=True, help="Show the model's own picture instead: each weight, its norm.")
@sampling_options
@json_option
def xray(
    wanted: str | None,
    prompt: str | None,
    checkpoint: str,
    attention: tuple[AttentionHead, ...],
    lens: bool,
    surprise: bool,
    picture: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Show, from real numbers, how the model goes on from PROMPT ("-" reads it from standard input).

    The six steps of generation, as in the book: text to token IDs, the matrix of outputs, its last row, logits to
    probabilities, the choice, the new token behind the text. One token is drawn where --tokens does not ask for more;
    settings that are not given are as in the run's recipe. All is worked out in float32; the same seed draws what
    `llmtui sample` draws in it. A masked model uncovers one hidden place behind the text at a time.
    """
    settings_given = any(given not in (None, (), {}) for given in asked.values())
    if picture and (prompt is not None or attention or lens or surprise or settings_given):
        raise InspectOptionError(
            "--model shows the model alone, not how it goes on from a prompt", todo="leave one of them out"
        )
    workspace = Workspace()
    run = run_with_checkpoint(workspace, wanted)
    place, width = str(place_of(run, checkpoint)), shutil.get_terminal_size().columns
    asked["tokens"] = 1 if asked["tokens"] is None else asked["tokens"]
    settings = sampling_settings(run.recipe, asked)
    if picture:
        request: InspectPrompt | InspectModel = InspectModel(id=0, checkpoint=place, precision="float32")
    else:
        options = InspectOptions(
            columns=max(3, min(10, (width - 30) // 9)), logit_lens=lens, attention=attention, surprisal=surprise
        )
        request = InspectPrompt(
            id=0,
            checkpoint=place,
            cleaning=run.recipe.preprocess.steps,
            precision="float32",
            prompt=prompt_of(prompt, settings),
            sampling=settings.sampling(),
            options=options,
        )
    teller = Teller(width=width, greedy=settings.temperature == 0)
    asyncio.run(_show(workspace, f"{run.id}, ", request, None if as_json else teller))


async def _show(workspace: Workspace, name: str, request: InspectPrompt | InspectModel, teller: Teller | None) -> None:
    """Print what is seen as it comes, each as an object where there is no teller.

    Raises InspectError, InferenceProcessError.
    """
    client = InferenceClient(workspace)
    try:
        async with aclosing(client.stream(request)) as came:
            async for reply in came:
                match reply:
                    case Loaded():
                        tell(reply)
                        if teller is None:
                            out_json({"type": "loaded", "checkpoint": reply.checkpoint, "step": reply.step})
                        else:
                            out(f"{name}step {reply.step:,}, {reply.precision}\n")
                    case Inspected(result=result) if teller is None:
                        out_json(result)
                    case Inspected(result=result) if teller is not None:
                        for section in teller.tell(result):
                            out(section + "\n")
    except InferenceError as refused:
        raise InspectError(refused.what, where=refused.where, todo=refused.todo) from None
    finally:
        await client.close()
