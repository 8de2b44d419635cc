"""The summary of a run as text: the progress of its current stage, and its results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from core.events import GeneratedSample
from core.runs.directory import Run
from core.runs.summary import Summary
from llmtui.view import plan_text
from llmtui.view.units import amount, cost, duration, perplexity, rate


def describe_progress(summary: Summary) -> str:
    """The current stage in one line: share done, rate, time left."""
    stage, metric = summary.current_stage, summary.metric
    parts, speed = [], ""
    if summary.stage == "train":
        if summary.evaluating:
            parts += [f"step {metric.step:,}"] if metric else []
            parts += ["evaluating the held-out text"]
        elif metric:
            parts += [f"step {metric.step:,}", f"loss {cost(metric.loss)}"]
            speed = rate(summary.tokens_per_second, "tok") if summary.tokens_per_second else ""
    elif stage.unit:
        parts += [amount(stage.done, stage.unit)]
        speed = rate(stage.rate, stage.unit) if stage.rate else ""
    parts += [speed] if speed else []
    if stage.share is not None:
        parts += [f"{stage.share:.0%}"]
    if stage.seconds_left is not None:
        parts += [f"{duration(stage.seconds_left)} left"]
    return ", ".join(parts)


def result_lines(run: Run, summary: Summary, samples: Iterable[GeneratedSample]) -> Iterator[str]:
    """The results of a finished run: its final samples, its figures, commands to try next. Not sanitised."""
    for sample in samples:
        yield f"{sample.prompt}{sample.text}\n"
    rows = []
    if summary.evaluation and math.isfinite(summary.evaluation.loss):
        loss, bound = summary.evaluation.loss, summary.evaluation.bound
        nats = f"{cost(loss, bound=bound)} nats per token (perplexity {perplexity(loss, bound=bound)})"
        rows.append(("validation loss", nats))
        baselines = ", ".join(f"{name} {cost(bits)}" for name, bits in summary.compression_baselines.items())
        bits = cost(summary.evaluation.bits_per_byte, bound=bound)
        rows.append(("bits per byte", bits + (f"   ({baselines})" if baselines else "")))
    if summary.metric and summary.metric.seconds > 0:
        mean = rate(summary.metric.tokens / summary.metric.seconds, "tok")
        rows.append(("training", f"{plan_text.training_time(summary, run.recipe.train)}, {mean}"))
        rows.append(("tokens", plan_text.tokens_seen(summary, run.recipe.train)))
    if summary.plan and summary.peak:
        rows.append(("memory", plan_text.peak_memory(summary)))
    rows.append(("run", str(run.path)))
    rows.append(("try next", f"llmtui sample {run.id} 'PROMPT'"))
    rows.append(("", "llmtui   the workbench: curves, chat with the model"))
    for label, text in rows:
        yield f"{label:<16}  {text}"
