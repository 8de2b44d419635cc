"""`llmtui plan`: parameters, FLOPs, memory and time of a recipe, before it is run."""

from __future__ import annotations

from collections.abc import Iterator

import click
from msgspec.structs import asdict

from core.hardware import machine, memory_for
from core.init.check import find_weights
from core.model.count import TRAINING_FACTOR, flops_per_token, parameters
from core.model.memory_fit import PrecisionPlan, precision_plans
from core.plural import plural
from core.recipe.schema import Recipe
from core.runs.lookup import all_runs
from core.runs.measured_speed import measured_speeds
from core.storage.workspace import Workspace
from core.targets.template import LOCAL
from core.vocab.sizes import expected_size
from llmtui.cli.architecture_output import print_architecture
from llmtui.cli.cluster_output import plan_gpus
from llmtui.cli.commands.options import NAME, json_option, nodes_option, preset_option, set_option, target_option
from llmtui.cli.commands.placement import resolve_placement
from llmtui.cli.commands.recipe_argument import load_recipe, resolve, with_absolute_source
from llmtui.cli.console import print_json, print_output
from llmtui.view.export_text import export_record, export_sentence
from llmtui.view.forecast_text import training_rows
from llmtui.view.plan_text import parts, shape, shares, verdict
from llmtui.view.table import table
from llmtui.view.units import count, size

SCHEMA = 2
"""In version 1, flops_per_token had the parts, of the forward pass alone."""


@click.command(short_help="Compute parameters, FLOPs, memory and time of a recipe.")
@click.argument("what", type=NAME, metavar="[RECIPE|SOURCE]", required=False)
@preset_option
@set_option
@click.option("--picture", is_flag=True, help="Draw the architecture, and explain each of its steps.")
@target_option
@nodes_option
@click.option("--gpus", type=click.IntRange(1, 65_536), metavar="N", help="Plan for N GPUs, of all nodes together.")
@click.option(
    "--gpu-memory", type=click.FloatRange(1, 1024), default=80, show_default=True, help="GiB of each of --gpus."
)
@json_option
def plan(
    what: str | None,
    preset: str | None,
    overrides: tuple[str, ...],
    picture: bool,
    target: str,
    nodes: int | None,
    gpus: int | None,
    gpu_memory: float,
    as_json: bool,
) -> None:
    """Compute parameters, FLOPs, memory and time of RECIPE, or of a training on SOURCE, without starting it.

    With --gpus: the memory of each of N GPUs, how a step's sequences are divided among them, whether the model is
    sharded, which is checked by sharding it as the first of them would, and with --on TARGET the command that starts
    the training there.

    Lists parameters, FLOPs per token and memory by part of the model, the largest micro-batch that fits this machine,
    and tokens and time at the speed of earlier runs on it; each run measures its own before its first step. Initial
    weights (model.init) are checked if they are on this machine. Says whether the model can be exported to other
    programs.
    """
    recipe = resolve(what, preset, overrides) if what else load_recipe(preset=preset, overrides=overrides)
    if what and not what.endswith(".toml"):  # a recipe may be for a machine that has its corpus
        with_absolute_source(recipe)
    find_weights(recipe, Workspace())
    entries, unsure = expected_size(recipe.tokenize)
    if picture:
        print_architecture(recipe, entries, as_json)
        return
    if gpus is not None:
        plan_gpus(recipe, entries, gpus, gpu_memory, resolve_placement(target, nodes, gpus, Workspace()), as_json)
        return
    if target != LOCAL:
        raise click.UsageError("--on needs --gpus")
    options = precision_plans(recipe, entries, *memory_for(recipe.train.device))
    if as_json:
        cost = flops_per_token(recipe.model, entries)
        print_json(
            {
                "vocabulary": entries,
                "vocabulary_is_known": not unsure,
                "parameters": parameters(recipe.model, entries),
                # the name and value of the journal's ModelInfo
                "flops_per_token": cost.training,
                "flops_are": "forward and backward",
                "flops_per_token_by_part": {name: TRAINING_FACTOR * number for name, number in asdict(cost).items()},
                "export": export_record(recipe.model),
                "options": [
                    {"precision": option.precision, "micro_batch": option.micro_batch, "memory": option.memory}
                    for option in options
                ],
            },
            schema=SCHEMA,
        )
        return
    speeds = measured_speeds((run.recipe.name, run.summary()) for run in all_runs(Workspace()))
    rows = [*_rows(recipe, entries, unsure, options), *training_rows(recipe, speeds)]
    print_output(table(rows))


def _rows(recipe: Recipe, vocabulary: int, unsure: str, options: list[PrecisionPlan]) -> Iterator[tuple[str, ...]]:
    model = recipe.model
    yield "model", f"{shape(model)}, context {model.block_size:,}"
    yield (
        "vocabulary",
        f"{recipe.tokenize.vocabulary}, {plural(vocabulary, 'entry')}" + (f" ({unsure})" if unsure else ""),
    )
    counted = parameters(model, vocabulary)
    yield "parameters", f"{counted.total:,}"
    for name, number in parts(counted):
        yield "", f"{name:<16}{count(number):>9}{number / counted.total:>7.0%}"
    cost = flops_per_token(model, vocabulary)
    yield "FLOPs", f"{count(cost.training)} per token, forward and backward"
    for name, number in asdict(cost).items():
        yield "", f"{name.replace('_', '-'):<16}{count(TRAINING_FACTOR * number):>9}{number / cost.forward:>7.0%}"
    yield "memory", f"{'':<16}" + "".join(f"{option.precision:>12}" for option in options)
    for named in zip(*(shares(option.memory) for option in options), strict=True):
        yield "", f"{named[0][0]:<16}" + "".join(f"{size(number):>12}" for _, number in named)
    yield "", f"{'peak':<16}" + "".join(f"{size(option.memory.peak):>12}" for option in options)
    yield "export", export_sentence(model)
    here = machine()
    available = f"{size(options[0].budget.bytes)} of {size(here.training_memory)} of memory available"
    yield "machine", f"{here.processors}, {available}"
    for option in options:
        yield "", f"in {option.precision}: " + verdict(recipe, vocabulary, option, prefix="--set ")
