"""Statistics of the weights in a run's checkpoints, read in a child process."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing

from core.checkpoints import readable_checkpoints, step_of
from core.jobs.weight_statistics import CheckpointRead, WeightStatistics
from core.runs.directory import Run
from core.storage.workspace import Workspace
from llmtui.clients.child_job import run_child_job
from llmtui.view.weights_text import CheckpointWeights


def read_weights(
    workspace: Workspace, run: Run, known: Mapping[str, CheckpointWeights]
) -> Generator[tuple[dict[str, CheckpointWeights], int] | None]:
    """What is known of the checkpoints of `run`, by name and fingerprint of their content, and their number.

    First the `known` ones that are still there, then again after each that has been read, the newest first; None in
    between, after each tensor. Closing the generator ends the child. Raises LlmtuiError if a checkpoint is damaged.
    """
    checkpoints = {found.path.name: found for found in reversed(readable_checkpoints(run.checkpoints))}
    keys = {name: f"{name} {found.content_fingerprint()}" for name, found in checkpoints.items()}
    found = {key: known[key] for key in keys.values() if key in known}
    yield dict(found), len(checkpoints)
    unread = [str(checkpoints[name].path) for name, key in keys.items() if key not in known]
    if not unread:
        return
    tensors: dict[str, WeightStatistics] = {}
    results = run_child_job(
        workspace, "core.jobs.weight_statistics", *unread, result_type=WeightStatistics | CheckpointRead
    )
    with closing(results):
        for result in results:
            if isinstance(result, WeightStatistics):
                tensors[result.name] = result
                yield None
                continue
            name = result.checkpoint
            found[keys[name]] = CheckpointWeights(step_of(checkpoints[name].path), tensors)
            tensors = {}
            yield dict(found), len(checkpoints)
