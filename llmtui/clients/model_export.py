"""Exporting a checkpoint of a run: the request for the child job that does it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import msgspec

from core.checkpoints import step_of
from core.events import AnyEvent
from core.export.architectures import architecture_of
from core.export.request import ExportRequest, check_request, format_named
from core.runs.directory import Run
from core.storage.workspace import Workspace
from llmtui.clients.child_job import run_child_job, stream_child_job
from llmtui.view.model_card import model_card

MODULE = "core.export.job"


def export_request(run: Run, checkpoint: Path, *, to: Path, format_name: str, dtype: str = "") -> ExportRequest:
    """The request to export `checkpoint` of `run` to the folder `to`. dtype: empty for the format's first.

    Raises NotExportableError, ExportError.
    """
    architecture = architecture_of(run.recipe.model)
    step = step_of(checkpoint)
    request = ExportRequest(
        checkpoint=str(checkpoint),
        to=str(to.absolute()),
        format=format_name,
        dtype=dtype or format_named(format_name).dtypes[0],
        name=f"{run.name}-{step}",
        chat=run.recipe.chat,
    )
    check_request(request)
    curves, rest = run.load_curves()
    for event in rest.iter_events():
        curves.absorb(event)
    return msgspec.structs.replace(request, card=model_card(run, curves, step, architecture))


def run_export(workspace: Workspace, request: ExportRequest) -> Generator[AnyEvent, None, None]:
    """Export in a child process; yields its events. Closing the generator ends it. Raises LlmtuiError."""
    return run_child_job(workspace, MODULE, msgspec.json.encode(request).decode(), result_type=AnyEvent)


def stream_export(workspace: Workspace, request: ExportRequest) -> AsyncGenerator[AnyEvent, None]:
    """`run_export` for an event loop."""
    return stream_child_job(workspace, MODULE, msgspec.json.encode(request).decode(), result_type=AnyEvent)
