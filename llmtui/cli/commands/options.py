"""Arguments and options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
from click.shell_completion import CompletionItem

from core.errors import UsageError
from core.parsing import decode_text
from core.recipe.checks import RecipeError
from core.recipe.fields import fields
from core.recipe.file import load, presets
from core.recipe.sampling import Precision
from core.recipe.schema import Recipe, Sample
from core.runs.lookup import all_runs
from core.storage.workspace import Workspace

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Named(click.types.StringParamType):
    """Text that names something, which nothing but spaces does: it is a variable of a script that was not set, and
    would be taken for the newest run, the current folder or all addresses."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if not str(value).strip():
            self.fail("it is empty", parameter, context)
        return super().convert(value, parameter, context)


NAMED = Named()


class NamedPath(click.Path):
    """A path; an empty one would be the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        return super().convert(NAMED.convert(value, parameter, context), parameter, context)


def _complete_run(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    return [CompletionItem(run.id) for run in all_runs(Workspace()) if run.id.startswith(typed)]


def _complete_field(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    return [CompletionItem(f"{field.key}=") for field in fields() if field.key.startswith(typed)]


def _complete_preset(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in presets() if name.startswith(typed)]


def run_argument(*, required: bool = False, nargs: int = 1) -> Decorator:
    """RUN, whose absence means the newest; with `nargs` -1 as many as are given."""
    metavar = "RUN" if required else "[RUN]"
    return click.argument(
        "wanted", type=NAMED, metavar=metavar, required=required, nargs=nargs, shell_complete=_complete_run
    )


run_option: Decorator = click.option(
    "--run", "wanted", type=NAMED, metavar="RUN", shell_complete=_complete_run, help="Left out: the newest run."
)
set_option: Decorator = click.option(
    "--set",
    "overrides",
    type=NAMED,
    metavar="FIELD=VALUE",
    multiple=True,
    shell_complete=_complete_field,
    help="Change one field of the recipe, such as train.lr=3e-4; may be repeated. `llmtui recipe` prints all fields.",
)
preset_option: Decorator = click.option(
    "--preset",
    type=NAMED,
    metavar="NAME",
    shell_complete=_complete_preset,
    help="Start from a recipe that comes with llmtui.",
)
detach_option: Decorator = click.option("--detach", is_flag=True, help="Start it and return at once.")
processes_option: Decorator = click.option(
    "--processes",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Let N processes train it together, on GPUs each on its own; the losses are those of one, "
    "but for what dropout draws.",
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
precision_option: Decorator = click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="auto",
    show_default=True,
    help="Numbers the weights are kept in. auto: 16 bits for a large model where they are measured to be faster.",
)
yes_option: Decorator = click.option(
    "--yes", is_flag=True, help="Agree to what a corpus asks, where it asks for something, without being asked."
)


_ASKED = (
    *(("tokens", int), ("temperature", float), ("top_k", int), ("top_p", float), ("min_p", float)),
    *(("typical_p", float), ("repetition_penalty", float), ("presence_penalty", float)),
    *(("frequency_penalty", float), ("seed", int)),
)
"""The settings of sampling that are one number."""


class TextArgumentError(UsageError):
    doing = "read the text"


class SamplingOptionError(UsageError):
    doing = "draw text so"


def _biases(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, float]:
    """What ID=NUMBER says, by id."""
    biases = {}
    for text in given:
        token, _, number = text.partition("=")
        try:
            biases[str(int(token))] = float(number)
        except ValueError:
            raise click.BadParameter(f"{text!r} is no ID=NUMBER, such as 318=-100") from None
    return biases


def sampling_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Settings of sampling, which `sampling_settings` understands; each without a value means the recipe's."""
    meaning = {field.name: field.description for field in fields() if field.section == "sample"}
    again = "May be repeated."
    lists = (
        click.option("--stop", multiple=True, metavar="TEXT", help=f"{meaning['stop']} {again}"),
        click.option("--stop-token", type=int, multiple=True, metavar="ID", help=f"{meaning['stop_tokens']} {again}"),
        click.option(
            "--logit-bias",
            multiple=True,
            metavar="ID=NUMBER",
            callback=_biases,
            help=f"Added to the scores of a token, beside what the recipe adds; -100 forbids it. {again}",
        ),
    )
    for option in lists[::-1]:
        command = option(command)
    for name, kind in reversed(_ASKED):
        command = click.option("--" + name.replace("_", "-"), type=kind, help=meaning[name])(command)
    return command


def sampling_settings(recipe: Recipe, asked: dict[str, Any]) -> Sample:
    """The recipe's own settings with what the options say. Raises SamplingOptionError."""
    overrides = [f"sample.{name}={asked[name]}" for name, _ in _ASKED if asked[name] is not None]
    for name, option in (("stop", "stop"), ("stop_tokens", "stop_token")):
        if asked[option]:
            overrides.append(f"sample.{name}={msgspec.json.encode(asked[option]).decode()}")
    if asked["logit_bias"]:
        biases = ", ".join(f"{token} = {number}" for token, number in asked["logit_bias"].items())
        overrides.append(f"sample.logit_bias={{ {biases} }}")
    try:
        return load(base=msgspec.to_builtins(recipe, str_keys=True), overrides=overrides).sample
    except RecipeError as wrong:
        name = wrong.where.removeprefix("--set sample.").partition("=")[0]
        option = "--" + name.replace("stop_tokens", "stop_token").replace("_", "-")
        raise SamplingOptionError(wrong.what, where=option, todo=wrong.todo) from None


def text_of(name: str) -> str:
    """The text of a file, or of standard input where `name` is "-". Raises TextArgumentError."""
    try:
        return decode_text(sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes())
    except UnicodeDecodeError as error:
        todo = "save it as UTF-8, such as with: iconv -f ENCODING -t UTF-8"
        raise TextArgumentError(
            f"it is not {error.encoding.upper()} text (byte {error.start:,})", where=name, todo=todo
        ) from None
    except OSError as error:
        raise TextArgumentError((error.strerror or str(error)).lower(), where=name) from None


def prompt_of(prompt: str | None, settings: Sample) -> str:
    """What PROMPT says: "-" is standard input, none the first of the recipe's. Raises TextArgumentError."""
    if prompt is None:
        return settings.prompts[0]
    return text_of("-") if prompt == "-" else prompt
