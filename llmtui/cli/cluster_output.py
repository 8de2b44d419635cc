"""`llmtui plan --gpus`: a training on many GPUs, checked on this machine."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from core.errors import LlmtuiError
from core.model.cluster_plan import ClusterPlan, plan_cluster
from core.parsing import ParseError, parse_json
from core.plural import plural
from core.recipe.schema import Recipe
from core.runs.launch import child_environment, python_command
from core.storage.workspace import Workspace
from core.targets.start import plan_start
from core.targets.template import LOCAL, find_target
from llmtui.cli.commands.placement import Placement
from llmtui.cli.console import print_json, print_output
from llmtui.view.plan_text import shares
from llmtui.view.table import table
from llmtui.view.units import size


class DryRunError(LlmtuiError):
    doing = "shard the model"


class Sharded(Struct, frozen=True):
    """The result of `core.train.dry_run`."""

    weights: int
    matrices: int


def plan_gpus(
    recipe: Recipe, vocabulary: int, gpus: int, gpu_memory: float, placement: Placement, as_json: bool
) -> None:
    """Print the plan for `gpus` GPUs of `gpu_memory` GiB. Raises TargetError, DryRunError."""
    workspace = Workspace()
    plan = plan_cluster(recipe, vocabulary, gpus, int(gpu_memory * 2**30))
    sharded = _dry_run(recipe, vocabulary, gpus, workspace) if plan.sharded else None
    launch = f"llmtui run RECIPE --processes {gpus}" + (f" --on {placement.target}" if placement.target else "")
    launch += f" --nodes {placement.nodes}" if placement.nodes > 1 else ""
    if as_json:
        print_json({"plan": plan, "sharded_weights": sharded and sharded.weights, "launch": launch})
        return
    found = find_target(placement.target or LOCAL, workspace)
    script = ""
    if found is not None:
        example = workspace.runs / "RUN"
        start = plan_start(found, example, 1, nodes=placement.nodes, processes=gpus, environment={})
        script = start.script or "\n".join(shlex.join(command) for command in start.commands)
    print_output(table(list(_rows(plan, gpu_memory, sharded, launch))))
    if script:
        print_output(script)


def _rows(plan: ClusterPlan, gpu_memory: float, sharded: Sharded | None, launch: str) -> Iterator[tuple[str, ...]]:
    yield (
        "GPUs",
        f"{plan.gpus:,} of {gpu_memory:g} GiB ({size(gpu_memory * 2**30)}), a process on each, {plan.precision}",
    )
    yield "model", "a part on each GPU (FSDP)" if plan.sharded else "whole on each GPU"
    if sharded is not None:
        yield "", f"{size(sharded.weights)} of weights on the first GPU, by torch's own sharding"
    if sharded is not None and sharded.matrices:
        yield "", f"matrices of Muon on a GPU: {sharded.matrices:,}"
    share = plural(plan.most, "sequence") + " of each step on a GPU"
    if plan.least == 0:
        share += "; some have none: a larger train.batch_size would use them"
    elif plan.least != plan.most:
        share += f", {plan.least:,} on others, which wait: train.batch_size is not divisible by {plan.gpus:,}"
    yield "batch", share
    yield "", f"{plan.micro_batch:,} at a time" if plan.micro_batch else "not even one fits: take more GPUs"
    for name, number in (*shares(plan.memory), ("peak", plan.memory.peak)):
        yield "memory" if name == "weights" else "", f"{name:<16}{size(number):>12}"
    yield "start", launch


def _dry_run(recipe: Recipe, vocabulary: int, gpus: int, workspace: Workspace) -> Sharded:
    request = msgspec.json.encode({"recipe": recipe, "vocab_size": vocabulary, "gpus": gpus})
    done = subprocess.run(
        python_command("core.train.dry_run"), input=request, capture_output=True, env=child_environment(workspace)
    )
    try:
        return parse_json(done.stdout, Sharded)
    except ParseError:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        raise DryRunError(last[0], todo="--set train.sharding=none plans without it") from None
