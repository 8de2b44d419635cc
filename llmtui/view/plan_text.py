"""Predicted parameters, memory and time of a training as text, beside the measured ones."""

from __future__ import annotations

from core.events import TrainingForecast
from core.model.memory_fit import PrecisionPlan, suggest_changes
from core.model_size import MemoryEstimate, ParameterCounts
from core.plural import plural
from core.recipe.schema import Model, Recipe, Train
from core.runs.summary import Summary
from llmtui.view.units import count, duration, many, size


def parts(parameters: ParameterCounts) -> list[tuple[str, int]]:
    """Parameters by part of the model, in the order of the forward pass; parts without parameters are left out."""
    named = [
        ("embedding", parameters.token_embedding),
        ("positions", parameters.positions),
        ("attention", parameters.attention),
        ("feed-forward", parameters.feed_forward),
        ("norms", parameters.norms),
        ("output", parameters.output),
    ]
    return [(name, number) for name, number in named if number]


def shares(memory: MemoryEstimate) -> list[tuple[str, int]]:
    """Memory in bytes by use, in the order of allocation; unused ones are left out."""
    named = [
        ("process", memory.process),
        ("weights", memory.weights),
        ("gradients", memory.gradients),
        ("optimiser", memory.optimizer),
        ("activations", memory.activations),
        ("gathered", memory.gathered),
        ("checkpoint copy", memory.checkpoint),
    ]
    return [(name, number) for name, number in named if number]


def shape(model: Model) -> str:
    """A model's shape: `4 layers, 1 head, 128 wide`."""
    heads = plural(model.n_head, "head")
    if model.n_kv_head not in (None, model.n_head):
        heads += f", {plural(model.n_kv_head, 'key/value head')}"
    return f"{plural(model.n_layer, 'layer')}, {heads}, {model.n_embd:,} wide"


def _joined(pairs: list[tuple[str, str]]) -> str:
    """`embedding 1.05M, attention 786k`."""
    return ", ".join(f"{name} {figure}" for name, figure in pairs)


def micro_batches(batch: int, micro_batch: int) -> str:
    """How a batch is divided: `8 sequences at once`, `16 sequences, 4 at a time`."""
    sequences = plural(batch, "sequence")
    return f"{sequences}, {micro_batch:,} at a time" if micro_batch < batch else f"{sequences} at once"


def verdict(recipe: Recipe, vocabulary: int, plan: PrecisionPlan, prefix: str = "") -> str:
    """How a batch is divided in that precision, or that it does not fit and which changes would make it fit.

    prefix: stands before each change, such as `--set `.
    """
    if plan.micro_batch:
        return micro_batches(recipe.train.batch_size, plan.micro_batch)
    changes = [f"{prefix}{change}" for change in suggest_changes(recipe, vocabulary, plan.budget)]
    return "does not fit" + (f"; this would: {', or '.join(changes)}" if changes else "")


def lines(plan: TrainingForecast) -> list[tuple[str, str]]:
    """Names and values of a short table."""
    seconds = f", {_milliseconds(plan.step_seconds)}" if plan.step_seconds else ""
    rows = [
        ("parameters", _joined([(name, count(number)) for name, number in parts(plan.parameters)])),
        (
            "memory",
            f"{size(plan.memory.peak)} at most: "
            + _joined([(name, size(number)) for name, number in shares(plan.memory)]),
        ),
        ("step", micro_batches(plan.batch, plan.micro_batch) + seconds),
    ]
    if plan.seconds is not None and plan.tokens is not None:
        rows.append(("expected", f"{many(plan.tokens, 'token')} in {duration(plan.seconds)}"))
    return rows


def _milliseconds(seconds: float) -> str:
    """A duration, in milliseconds below one second: `38 ms`."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else duration(seconds)


def _limited_by_time(train: Train) -> bool:
    """Whether only train.minutes limits the training, so that its tokens are predicted instead of its time."""
    return train.steps is None and train.tokens is None


def peak_memory(summary: Summary) -> str:
    """Peak memory and its prediction; empty before it is measured."""
    if not summary.plan or not summary.peak:
        return ""
    return f"{size(summary.peak)}, expected {size(summary.plan.memory.peak)}"


def tokens_seen(summary: Summary, train: Train) -> str:
    """Tokens seen, and their prediction if time limits the training; empty before the first step."""
    if not summary.metric:
        return ""
    seen = many(summary.metric.tokens, "token")
    if summary.plan and summary.plan.tokens is not None and _limited_by_time(train):
        seen += f", expected {count(summary.plan.tokens)}"
    return seen


def training_time(summary: Summary, train: Train) -> str:
    """Time of training, and its prediction unless time limits the training; empty before the first step."""
    if not summary.metric:
        return ""
    taken = duration(summary.metric.seconds)
    if summary.plan and summary.plan.seconds is not None and not _limited_by_time(train):
        taken += f", expected {duration(summary.plan.seconds)}"
    return taken
