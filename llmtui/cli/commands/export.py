"""`llmtui export`: a checkpoint of a run for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from core.checkpoints import step_of
from core.events import Note, Progress
from core.export.architectures import architecture_of
from core.export.request import FORMATS
from core.runs.directory import Run
from core.sources.corpora import known_corpus
from core.storage.workspace import Workspace
from llmtui.cli.commands.checkpoint import load_checkpoint
from llmtui.cli.commands.lookup import run_with_checkpoint
from llmtui.cli.commands.options import NAME, PathType, complete_run
from llmtui.cli.console import print_message, print_output
from llmtui.cli.export_progress import ExportProgress
from llmtui.clients.model_export import export_request, run_export
from llmtui.view.units import size


def _about_formats() -> str:
    """Each format on a line of the help."""
    return "\n".join(f"  {each.name:<6} {each.about} ({', '.join(each.dtypes)})" for each in FORMATS.values())


@click.command(
    short_help="Write a checkpoint for transformers and other programs.",
    epilog=f"\b\nFormats, and the number formats of their weights, the default first:\n{_about_formats()}",
)
@click.argument("which", type=NAME, metavar="[RUN][@STEP|@best|@last]", required=False, shell_complete=complete_run)
@click.option(
    "--to", type=PathType(), metavar="FOLDER", required=True, help="A folder that does not exist or is empty."
)
@click.option(
    "--format", "format_name", type=click.Choice(list(FORMATS)), default="hf", show_default=True, help="See below."
)
@click.option("--dtype", type=NAME, default=None, help="Number format of the weights; default: the format's first.")
def export(which: str | None, to: Path, format_name: str, dtype: str | None) -> None:
    """Write a checkpoint of RUN, by default the newest, into FOLDER, in a format of other programs.

    The model there computes the same logits. One that other programs cannot compute exactly is refused, with the
    nearest recipe that they can, as `llmtui plan` says before the training; what differs in a vocabulary is said.
    """
    workspace = Workspace().prepare_for_reading()
    name, _, checkpoint = (which or "").partition("@")
    run = run_with_checkpoint(workspace, name or None)
    architecture = architecture_of(run.recipe.model)
    found = load_checkpoint(run, checkpoint or "last", verify=False)
    request = export_request(run, found.path, to=to, format_name=format_name, dtype=dtype or "")
    progress = ExportProgress()
    for event in run_export(workspace, request):
        if isinstance(event, Progress):
            progress.show(event)
        elif isinstance(event, Note):
            print_message(event.text)
    print_output(request.to)
    bytes_ = sum(file.stat().st_size for file in Path(request.to).iterdir())
    print_message(
        f"step {step_of(found.path):,} of {run.id} as {architecture.class_name}, {size(bytes_)} in {request.dtype}"
    )
    _print_notice(run)


def _print_notice(run: Run) -> None:
    corpus = known_corpus(run.recipe.source.corpus)
    if corpus and corpus.notice:
        print_message(f"before you pass it on: {corpus.notice}")
