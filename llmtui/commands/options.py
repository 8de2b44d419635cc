"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from core.recipe_file import fields, presets
from core.runs.directory import all_runs
from core.workspace import Workspace

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _complete_run(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    return [CompletionItem(run.id) for run in all_runs(Workspace()) if run.id.startswith(typed)]


def _complete_field(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    return [CompletionItem(f"{field.key}=") for field in fields() if field.key.startswith(typed)]


def _complete_preset(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in presets() if name.startswith(typed)]


def run_argument(*, required: bool = False, nargs: int = 1) -> Decorator:
    """RUN, whose absence means the newest; with `nargs` -1 as many as are given."""
    metavar = "RUN" if required else "[RUN]"
    return click.argument("wanted", metavar=metavar, required=required, nargs=nargs, shell_complete=_complete_run)


set_option: Decorator = click.option(
    "--set",
    "overrides",
    metavar="FIELD=VALUE",
    multiple=True,
    shell_complete=_complete_field,
    help="Change one field of the recipe, such as train.lr=3e-4; may be repeated. `llmtui recipe` prints all fields.",
)
preset_option: Decorator = click.option(
    "--preset", metavar="NAME", shell_complete=_complete_preset, help="Start from a recipe that comes with llmtui."
)
detach_option: Decorator = click.option("--detach", is_flag=True, help="Start it and return at once.")
processes_option: Decorator = click.option(
    "--processes",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Let N processes train it together, on GPUs each on its own; the losses are those of one.",
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
yes_option: Decorator = click.option(
    "--yes", is_flag=True, help="Agree to what a corpus asks, where it asks for something, without being asked."
)
