"""What a training was to take, in words, and what it took: for the telling, the Train screen and `llmtui plan`."""

from __future__ import annotations

from core.events import TrainingForecast
from core.model_size import MemoryEstimate, ParameterCounts
from core.plural import plural
from core.recipe.schema import Model, Train
from core.runs.summary import Summary
from llmtui.view.units import count, duration, many, size


def parts(parameters: ParameterCounts) -> list[tuple[str, int]]:
    """The parts of a model that have parameters, in the order they come in."""
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
    """What memory goes to, in the order it is taken."""
    named = [
        ("program", memory.process),
        ("weights", memory.weights),
        ("gradients", memory.gradients),
        ("optimiser", memory.optimizer),
        ("activations", memory.activations),
        ("checkpoint copy", memory.checkpoint),
    ]
    return [(name, number) for name, number in named if number]


def shape(model: Model) -> str:
    """A model's shape: `4 layers, 1 head, 128 wide`."""
    heads = plural(model.n_head, "head")
    if model.n_kv_head not in (None, model.n_head):
        heads += f", keys and values in {model.n_kv_head}"
    return f"{plural(model.n_layer, 'layer')}, {heads}, {model.n_embd:,} wide"


def listed(pairs: list[tuple[str, str]]) -> str:
    """`embedding 1.05M, attention 786k`."""
    return ", ".join(f"{name} {figure}" for name, figure in pairs)


def passes(batch: int, micro_batch: int) -> str:
    """How the sequences of a step are worked through: `8 sequences at once`, `16 sequences, 4 at a time`."""
    sequences = plural(batch, "sequence")
    return f"{sequences}, {micro_batch:,} at a time" if micro_batch < batch else f"{sequences} at once"


def lines(plan: TrainingForecast) -> list[tuple[str, str]]:
    """The plan as a short table."""
    rows = [
        ("parameters", listed([(name, count(number)) for name, number in parts(plan.parameters)])),
        (
            "memory",
            f"{size(plan.memory.peak)} at most: "
            + listed([(name, size(number)) for name, number in shares(plan.memory)]),
        ),
        ("step", passes(plan.batch, plan.micro_batch) + (f", {_fine(plan.step_seconds)}" if plan.step_seconds else "")),
    ]
    if plan.seconds is not None and plan.tokens is not None:
        rows.append(("expected", f"{many(plan.tokens, 'token')} in {duration(plan.seconds)}"))
    return rows


def _fine(seconds: float) -> str:
    """A short span of time: `38 ms`."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else duration(seconds)


def _by_clock(train: Train) -> bool:
    """Whether the clock ends the training, so that the tokens it sees are what is foretold."""
    return train.steps is None and train.tokens is None


def memory_then(summary: Summary) -> str:
    """The most memory there was beside what was expected; empty before there is a figure."""
    if not summary.plan or not summary.peak:
        return ""
    return f"{size(summary.peak)}, expected {size(summary.plan.memory.peak)}"


def tokens_then(summary: Summary, train: Train) -> str:
    """The tokens seen, beside what was expected where the clock ends the training; empty before the first step."""
    if not summary.metric:
        return ""
    seen = many(summary.metric.tokens, "token")
    if summary.plan and summary.plan.tokens is not None and _by_clock(train):
        seen += f", expected {count(summary.plan.tokens)}"
    return seen


def time_then(summary: Summary, train: Train) -> str:
    """The time of training, beside what was expected where the clock does not end it; empty before the first step."""
    if not summary.metric:
        return ""
    taken = duration(summary.metric.seconds)
    if summary.plan and summary.plan.seconds is not None and not _by_clock(train):
        taken += f", expected {duration(summary.plan.seconds)}"
    return taken
