"""Arguments and options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import click
import msgspec
from click.shell_completion import CompletionItem

from core.errors import UsageError
from core.parsing import decode_text
from core.recipe.checks import RecipeError
from core.recipe.fields import fields
from core.recipe.file import load, presets
from core.recipe.sampling import Precision, Setting, sampling_fields
from core.recipe.schema import Recipe, Sample
from core.runs.lookup import all_runs
from core.storage.workspace import Workspace

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class NameType(click.types.StringParamType):
    """A name; blank ones are an error, because an unset variable of a script must not mean the newest run or all
    addresses."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if not str(value).strip():
            self.fail("the name is empty", parameter, context)
        return super().convert(value, parameter, context)


NAME = NameType()


class PathType(click.Path):
    """A path; a blank one is an error, because it would mean the current directory."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        return super().convert(NAME.convert(value, parameter, context), parameter, context)


def complete_run(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Completion of the id of a run."""
    return [CompletionItem(run.id) for run in all_runs(Workspace()) if run.id.startswith(typed)]


def _complete_field(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    return [CompletionItem(f"{field.key}=") for field in fields() if field.key.startswith(typed)]


def _complete_preset(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in presets() if name.startswith(typed)]


def run_argument(*, required: bool = False, nargs: int = 1) -> Decorator:
    """The RUN argument, by default the newest run; with `nargs` -1 any number of runs."""
    metavar = "RUN" if required else "[RUN]"
    return click.argument(
        "run_name", type=NAME, metavar=metavar, required=required, nargs=nargs, shell_complete=complete_run
    )


run_option: Decorator = click.option(
    "--run", "run_name", type=NAME, metavar="RUN", shell_complete=complete_run, help="Default: the newest run."
)
set_option: Decorator = click.option(
    "--set",
    "overrides",
    type=NAME,
    metavar="FIELD=VALUE",
    multiple=True,
    shell_complete=_complete_field,
    help="Override a field of the recipe, such as train.lr=3e-4; may be repeated. `llmtui recipe` prints all fields.",
)
preset_option: Decorator = click.option(
    "--preset",
    type=NAME,
    metavar="NAME",
    shell_complete=_complete_preset,
    help="Start from a recipe that is included in llmtui.",
)
detach_option: Decorator = click.option("--detach", is_flag=True, help="Start the run and return.")
processes_option: Decorator = click.option(
    "--processes",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Train data-parallel in N processes, each on its own GPU if there are GPUs; losses equal those of one "
    "process, except for dropout.",
)
target_option: Decorator = click.option(
    "--on",
    "target",
    type=NAME,
    metavar="TARGET",
    default="local",
    help="Where to train: local, ssh:HOST,HOST, slurm[:PARTITION]; `llmtui targets` lists and checks them.",
)
nodes_option: Decorator = click.option(
    "--nodes",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Number of nodes of the target, among which --processes are divided; with ssh the number of hosts.",
)
share_option: Decorator = click.option(
    "--share", is_flag=True, help="Start at once, even if another run uses the processor or the GPU."
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
precision_option: Decorator = click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="auto",
    show_default=True,
    help="Number format of the weights. auto: 16 bits for a large model if measured to be faster.",
)
yes_option: Decorator = click.option(
    "--yes", is_flag=True, help="Accept the licence notice of the corpus, if it has one, without a prompt."
)
no_confirmation_option: Decorator = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def confirm(question: str) -> None:
    """Ask on the terminal. Raises click.Abort unless the answer is yes, click.UsageError without a terminal."""
    if not sys.stdin.isatty():
        raise click.UsageError("standard input is not a terminal to confirm on; repeat it with --yes")
    click.confirm(question, abort=True, err=True)


class TextArgumentError(UsageError):
    doing = "read the text"


class SamplingOptionError(UsageError):
    doing = "generate text"


def _biases(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, float]:
    """Biases by token id, from ID=NUMBER."""
    biases = {}
    for text in given:
        token, _, number = text.partition("=")
        try:
            biases[str(int(token))] = float(number)
        except ValueError:
            raise click.BadParameter(f"{text!r} is not ID=NUMBER, such as 318=-100") from None
    return biases


def sampling_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option for each field of `Sampling`, for `sampling_settings`; without a value, the recipe's applies."""
    for field in reversed(list(sampling_fields())):
        command = _sampling_option(field)(command)
    return command


def _sampling_option(field: Setting) -> Decorator:
    flag, name, several = f"--{field.option}", field.name, f"{field.description} May be repeated."
    origin, arguments = get_origin(field.type), get_args(field.type)
    if origin is dict:
        text = f"{several} The recipe's apply, too."
        return click.option(flag, name, multiple=True, metavar="ID=NUMBER", callback=_biases, help=text)
    if origin is tuple and get_origin(arguments[0]) is Annotated and get_args(arguments[0])[0] is str:
        return click.option(flag, name, multiple=True, metavar="TEXT", help=several)
    if origin is tuple:
        return click.option(flag, name, type=int, multiple=True, metavar="ID", help=several)
    return click.option(flag, name, type=field.type, help=field.description)


def sampling_settings(recipe: Recipe, given: dict[str, Any]) -> Sample:
    """The recipe's settings, changed by the options in `given`. Raises SamplingOptionError."""
    overrides = [
        f"sample.{field.name}={_toml(given[field.name])}"
        for field in sampling_fields()
        if given[field.name] not in (None, (), {})
    ]
    try:
        return load(base=msgspec.to_builtins(recipe, str_keys=True), overrides=overrides).sample
    except RecipeError as error:
        name = error.where.removeprefix("--set sample.").partition("=")[0]
        option = next((f"--{field.option}" for field in sampling_fields() if field.name == name), error.where)
        raise SamplingOptionError(error.what, where=option, todo=error.todo) from None


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {number}" for key, number in value.items()) + " }"
    return msgspec.json.encode(value).decode() if isinstance(value, tuple) else str(value)


def read_text(name: str) -> str:
    """The text of file `name`, or of standard input if it is "-". Raises TextArgumentError."""
    try:
        return decode_text(read_bytes(name))
    except UnicodeDecodeError as error:
        todo = "save it as UTF-8, such as with: iconv -f ENCODING -t UTF-8"
        raise TextArgumentError(
            f"it is not {error.encoding.upper()} text (byte {error.start:,})", where=name, todo=todo
        ) from None


def read_bytes(name: str) -> bytes:
    """The content of file `name`, or of standard input if it is "-". Raises TextArgumentError."""
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise TextArgumentError((error.strerror or str(error)).lower(), where=name) from None


def resolve_prompt(prompt: str | None, settings: Sample) -> str:
    """The PROMPT argument: "-" is standard input, None the first prompt of the recipe. Raises TextArgumentError."""
    if prompt is None:
        return settings.prompts[0]
    return read_text("-") if prompt == "-" else prompt
