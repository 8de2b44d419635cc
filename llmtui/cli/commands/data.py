"""`llmtui data`: the commands corpora, artifacts, rm, steps, preview, prepare and export; batch is in `data_batch`."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import click
import msgspec

from core.errors import UsageError, did_you_mean
from core.events import AnyEvent, CleaningReport, CleaningStep, Excerpt, Progress, StageFinished, StageSkipped
from core.recipe.fields import fields
from core.runs.artifacts import artifact_name, list_artifacts, remove_artifact, users_of
from core.runs.lookup import all_runs
from core.sources.corpora import CORPORA
from core.storage.workspace import Workspace
from core.targets.template import find_target
from llmtui.cli.commands.data_batch import batch
from llmtui.cli.commands.group import SuggestingGroup
from llmtui.cli.commands.lookup import ArtifactNotFoundError, find_artifact
from llmtui.cli.commands.options import (
    NAME,
    PathType,
    confirm,
    json_option,
    no_confirmation_option,
    preset_option,
    set_option,
    yes_option,
)
from llmtui.cli.commands.recipe_argument import ensure_license_accepted, resolve, with_absolute_source
from llmtui.cli.console import print_diff, print_json, print_message, print_output, print_table
from llmtui.cli.export_progress import ExportProgress
from llmtui.cli.run_output import INDENT, EventFormatter
from llmtui.clients.child_job import run_child_job
from llmtui.clients.data_parts import prepare_on_target
from llmtui.view import artifact_text
from llmtui.view.cleaning_report import report_tables
from llmtui.view.units import clock, size
from llmtui.view.word_diff import excerpt_spans

STAGES = {"raw": "download", "clean": "preprocess", "tokens": "tokenize"}
"""The data stage of each value of `export --stage`."""

FILES = {"raw": "{}.txt", "clean": "{}_preprocessed.txt", "tokens": "tokenized_{}.txt"}

EXCERPT_LENGTH = 400
"""Characters shown of an unchanged document."""


class ExportError(UsageError):
    doing = "export"


@click.group(cls=SuggestingGroup, short_help="Show, clean, prepare and export corpora.")
def data() -> None:
    """Show, clean, prepare and export corpora, without training."""


data.add_command(batch)


@data.command(short_help="List well-known corpora of the Hugging Face hub.")
@json_option
def corpora(as_json: bool) -> None:
    """List the corpora that `hf:NAME` knows by name, with their size, licence and description."""
    if as_json:
        for corpus in CORPORA.values():
            print_json(corpus)
        return
    for corpus in CORPORA.values():
        print_output(f"hf:{corpus.name:<15}  {size(corpus.bytes):>7}  {corpus.licence}\n    {corpus.about}")


@data.command(short_help="List the data on this machine, and the runs that use it.")
@json_option
def artifacts(as_json: bool) -> None:
    """List what the data stages have made on this machine: raw and cleaned documents, and tokens."""
    workspace = Workspace().prepare_for_reading()
    rows: list[tuple[str, ...]] = [("NAME", "", "SIZE", "", "MADE", "")]
    for artifact in list_artifacts(workspace, users_of((run.name, run.summary()) for run in all_runs(workspace))):
        if as_json:
            print_json(artifact)
        made = clock(artifact.made_at) if artifact.made_at else ""
        word = artifact_text.STAGES[artifact.stage]
        name = Path(artifact.path).name
        content, users = artifact_text.content(artifact), artifact_text.users(artifact)
        rows.append((name, word, size(artifact.bytes), content, made, users))
    if as_json:
        return
    if len(rows) > 1:
        print_table(rows)
    else:
        print_message("there is none yet; a run makes it before it trains, and so does llmtui data prepare SOURCE")


@data.command(short_help="Delete data that no run uses.")
@click.argument("names", type=NAME, metavar="NAME…", nargs=-1, required=True)
@no_confirmation_option
def rm(names: tuple[str, ...], yes: bool) -> None:
    """Delete the artifacts called NAME in `llmtui data artifacts`, if no run uses them."""
    workspace = Workspace().prepare()
    found = {Path(artifact.path).name: artifact for artifact in list_artifacts(workspace)}
    if unknown := [name for name in names if name not in found]:
        todo = did_you_mean(unknown[0], found) or "llmtui data artifacts lists them"
        raise ArtifactNotFoundError(f"there is no artifact {unknown[0]!r}", todo=todo)
    for name in names:
        artifact = found[name]
        if not yes:
            confirm(f"Delete {name}, {artifact_text.STAGES[artifact.stage]} ({size(artifact.bytes)})?")
        remove_artifact(workspace, artifact)
        print_message(f"deleted {name}")


@data.command(short_help="List the cleaning steps.")
@json_option
def steps(as_json: bool) -> None:
    """List the steps of preprocess.steps with their purpose, their cost and the recipe fields that configure them."""
    default = next(field.default for field in fields() if field.key == "preprocess.steps")
    for step in run_child_job(Workspace().prepare(), "core.jobs.data_commands", "steps", result_type=CleaningStep):
        if as_json:
            print_json(step)
            continue
        print_output(f"{'✓' if step.name in default else '·'} {step.name:<18}  {step.why}")
        for label, text in (("costs", step.cost), ("fields", ", ".join(f"preprocess.{p}" for p in step.parameters))):
            if text:
                print_output(f"  {'':<18}  {label} {text}")
    if not as_json:
        print_message("✓: enabled by default")


@data.command(short_help="Try the cleaning on the beginning of a corpus.")
@click.argument("what", type=NAME, metavar="RECIPE|SOURCE")
@preset_option
@set_option
@click.option("--documents", type=click.IntRange(0, 100), default=3, show_default=True, help="Documents to show.")
@click.option(
    "--bytes", "limit", type=click.IntRange(1), default=8_000_000, show_default=True, help="Bytes of text to read."
)
@yes_option
@json_option
def preview(
    what: str,
    preset: str | None,
    overrides: tuple[str, ...],
    documents: int,
    limit: int,
    yes: bool,
    as_json: bool,
) -> None:
    """Show documents of RECIPE or SOURCE before and after cleaning, and the statistics of each cleaning step.

    Removed text is in [-brackets-], added text in {+braces+}. No files are written. `--set source.take=sample` reads
    from the whole corpus instead of its beginning, which takes longer.
    """
    workspace = Workspace().prepare()
    recipe = with_absolute_source(resolve(what, preset, overrides))
    ensure_license_accepted(workspace, recipe, yes)
    formatter, number = EventFormatter(), 0
    with tempfile.TemporaryDirectory(prefix="preview-", dir=workspace.cache) as directory:
        task = ("preview", msgspec.json.encode(recipe).decode(), directory, str(documents), str(limit))
        for event in run_child_job(workspace, "core.jobs.data_commands", *task, result_type=AnyEvent):
            if as_json:
                if isinstance(event, Excerpt | CleaningReport):
                    print_json(event)
            elif isinstance(event, Excerpt):
                number += 1
                _show(event, number)
            elif isinstance(event, CleaningReport):
                for rows in report_tables(event):
                    print_table(rows)
                    print_output("")
            else:
                _print_event(formatter, event)


def _show(excerpt: Excerpt, number: int) -> None:
    """Print one document with its differences marked."""
    changed = f"changed by {', '.join(excerpt.changed_by)}" if excerpt.changed_by else "unchanged"
    print_output(f"{number}  {excerpt.name}: {f'removed by {excerpt.removed_by}' if excerpt.removed_by else changed}")
    print_diff(excerpt_spans(excerpt, EXCERPT_LENGTH))
    print_output("")


@data.command(short_help="Download, clean and tokenize a corpus, without training.")
@click.argument("what", type=NAME, metavar="RECIPE|SOURCE")
@preset_option
@set_option
@click.option("--part", type=NAME, metavar="I/N", help="Tokenize every N-th shard, from the I-th; see above.")
@click.option("--on", "target", type=NAME, metavar="TARGET", help="Where parts are made: local, ssh:HOST,… or slurm.")
@click.option("--parts", type=click.IntRange(1, 10_000), help="How many, with --on.  [default: one for each host]")
@yes_option
def prepare(
    what: str,
    preset: str | None,
    overrides: tuple[str, ...],
    part: str | None,
    target: str | None,
    parts: int | None,
    yes: bool,
) -> None:
    """Download, clean and tokenize RECIPE or SOURCE, and print the path of the token shards. A later run with the same
    data skips these stages. After Ctrl-C, the same command continues.

    With --on TARGET --parts N, the source is downloaded here; one part of the work on TARGET cleans it, then N parts
    tokenize it: an array of jobs on Slurm, one part after the other on each host of ssh. They are merged here. TARGET
    has to see LLMTUI_HOME at the same path; llmtui targets checks it. Repeated, only missing parts are made.

    With --part 1/3, --part 2/3 and --part 3/3, three machines that share LLMTUI_HOME, or whose results are copied into
    one, tokenize a third each; without --part, existing parts are merged and missing ones are made.
    """
    index, count = _part(part)
    if part and (target or parts):
        raise click.UsageError("--part makes one part here; --on TARGET --parts N makes all of them")
    if parts and not target:
        raise click.UsageError("--parts needs --on TARGET, such as --on slurm")
    workspace = Workspace().prepare()
    found = find_target(target, workspace) if target else None
    parts = parts or (len(found.hosts) if found else 0)
    if target and not parts:
        raise click.UsageError(f"--on {target} needs --parts N")
    recipe = with_absolute_source(resolve(what, preset, overrides))
    ensure_license_accepted(workspace, recipe, yes)
    formatter, artifact = EventFormatter(), ""
    task = ("prepare", msgspec.json.encode(recipe).decode(), str(index), str(count))
    if target:
        events = prepare_on_target(workspace, recipe, found, parts, target)
    else:
        events = run_child_job(workspace, "core.jobs.data_commands", *task, result_type=AnyEvent)
    try:
        with contextlib.closing(events):
            for event in events:
                _print_event(formatter, event)
                if isinstance(event, StageFinished | StageSkipped):
                    artifact = event.artifact
    except KeyboardInterrupt:
        print_message("\ncompleted files are kept; repeat the command to continue")
        raise
    print_output(artifact)


def _part(text: str | None) -> tuple[int, int]:
    """`2/4` as numbers; 1/1 by default."""
    first, _, second = (text or "1/1").partition("/")
    if not (first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second) <= 10_000):
        raise click.BadParameter(f"{text!r} is not I/N with I from 1 to N, such as 2/4", param_hint="--part")
    return int(first), int(second)


@data.command(short_help="Write the output of a data stage as plain text.")
@click.argument("name", type=NAME, metavar="RUN|CORPUS")
@click.option(
    "--stage",
    type=click.Choice(list(STAGES)),
    default="clean",
    show_default=True,
    help="raw: downloaded documents; clean: cleaned documents; tokens: token ids.",
)
@click.option("--to", metavar="FILE", type=PathType(), help="Output file.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def export(name: str, stage: str, to: Path | None, force: bool) -> None:
    """Write the documents or tokens of a run, or of a corpus by the name of its data, as plain text.

    Without --to: NAME.txt, NAME_preprocessed.txt or tokenized_NAME.txt in the current directory. Documents are
    separated by an empty line, unless each is a single line; of tokens, each line is one document.
    """
    workspace = Workspace().prepare()
    artifact = find_artifact(workspace, name, STAGES[stage])
    to = (to or Path(FILES[stage].format(artifact_name(artifact)))).absolute()
    if to.exists() and not force:
        raise ExportError("the file exists already", where=str(to), todo="name another with --to, or add --force")
    progress = ExportProgress()
    for event in run_child_job(
        workspace, "core.jobs.data_commands", "export", str(artifact), stage, str(to), result_type=AnyEvent
    ):
        if isinstance(event, Progress):
            progress.show(event)
    print_output(str(to))
    print_message(f"{size(to.stat().st_size)}")


def _print_event(formatter: EventFormatter, event: AnyEvent) -> None:
    for line in formatter.format(event):
        print_message(line, indent=INDENT)
