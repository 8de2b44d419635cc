"""The five stages as lines: contents of each artifact, progress of the current stage."""

from __future__ import annotations

from core.events import STAGES
from core.plural import one, plural
from core.recipe.schema import Recipe
from core.runs.summary import StageProgress, Summary
from llmtui.view import run_text, units
from llmtui.view.lines import Line, bar, cell, clip, joined, spread
from llmtui.view.sanitize import shown


def artifact_facts(stage: StageProgress) -> list[str]:
    """The facts of a stage's artifact in words, the most important first."""
    values = dict(stage.facts)
    parts: list[str] = []
    if "vocabulary" in values and "vocabulary_size" in values:
        parts.append(f"{shown(values.pop('vocabulary'), 40)} {_figure(values.pop('vocabulary_size'))}")
    for unit in ("documents", "tokens", "bytes"):
        held = [values.pop(f"{part}_{unit}", None) for part in ("train", "validation")]
        if held[0] is not None and unit != "bytes":
            parts.append(f"{_amount(held[0], unit)} to train on, {_amount(held[1] or 0)} to validate")
        elif held[0] is not None and "bytes" not in values and "bytes_per_token" not in values:
            numbers = [number for number in held if isinstance(number, int | float)]
            parts.append(units.size(sum(numbers)))
    for key in ("documents", "bytes", "bytes_per_token"):
        if key in values:
            value = values.pop(key)
            parts.append(
                f"{value:.2f} bytes/token"
                if key == "bytes_per_token" and isinstance(value, float)
                else _amount(value, key)
            )
    skipped = values.pop("skipped", 0)
    parts += [f"{_amount(skipped, 'files')} skipped"] if skipped else []
    removed = values.pop("removed", 0)
    parts += [f"{_figure(removed)} removed"] if removed else []
    for key in ("dtype", "loss"):
        values.pop(key, None)
    step, bits, bound = (values.pop(key, None) for key in ("step", "bits_per_byte", "bound"))
    parts += [f"step {_figure(step)}"] if step is not None else []
    parts += [f"{units.cost(bits, bound=bool(bound))} bits per byte"] if isinstance(bits, float) else []
    for key, value in values.items():
        name = shown(key, 30).replace("_", " ")
        parts.append(
            f"{value:,} {one(name) if value == 1 else name}" if isinstance(value, int) else f"{name} {_figure(value)}"
        )
    return parts


def _amount(value: float | str, unit: str = "") -> str:
    if unit == "bytes" and isinstance(value, int | float):
        return units.size(value)
    unit = one(unit) if value == 1 else unit
    if isinstance(value, int | float) and value >= 100_000:
        return f"{units.count(value)} {unit}".rstrip()
    return f"{_figure(value)} {unit}".rstrip()


def _figure(value: float | str) -> str:
    if isinstance(value, str):
        return shown(value, 60)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


_FAILED = ("✗", "bad")


def stage_line(
    stage_name: str, stage: StageProgress, cells: int, alive: bool, waiting: str, rate: str, *, failed: bool = False
) -> Line:
    """One stage in one line: name, glyph, and the facts of its artifact, or its progress.

    failed: whether the run has, in the stage that works.
    """
    head: Line = [(cell(stage_name, 12), "")]
    inner = cells - 15
    if stage.state in ("done", "skipped"):
        parts: list[Line] = [[(part, "dim")] for part in artifact_facts(stage)]
        parts += [[("up to date", "dim")]] if stage.state == "skipped" else []
        return [*head, ("✓  ", "good"), *joined(parts, inner, " · ")]
    if stage.state == "waiting":
        return clip([*head, ("·  ", "dim"), (waiting, "dim")], cells)
    mark, role = _FAILED if failed else ("●", "accent") if alive else ("·", "dim")
    glyph = (f"{mark}  ", role)
    rate = rate if alive else ""
    if failed and not stage.done:
        return clip([*head, glyph, ("failed", "bad")], cells)
    if stage.share is None:
        return clip([*head, glyph, (f"{_amount(stage.done, stage.unit)}   {rate}", "")], cells)
    eta = (
        f"{units.duration(stage.seconds_left)} left"
        if stage.seconds_left is not None and stage.seconds_left >= 1 and alive
        else ""
    )
    tail: Line = [(f" {run_text.percent(stage.share):>7}", ""), (f"  {rate:>11}" if inner > 40 else "", "dim")]
    tail += [(f"  {eta:>11}", "dim")] if inner > 60 else []
    taken = sum(len(text) for text, _ in tail)
    return spread([*head, glyph, *bar(stage.share, max(6, min(60, inner - taken - 1)))], tail, cells)


def stage_lines(recipe: Recipe, summary: Summary, cells: int, alive: bool, *, failed: bool = False) -> list[Line]:
    """All five stages, one line each. alive, failed: whether the run works, or has failed."""
    waiting = {
        "download": shown(recipe.source.corpus, 200),
        "preprocess": plural(len(recipe.preprocess.steps), "cleaning step"),
        "tokenize": f"bpe, {plural(recipe.tokenize.size, 'entry')}"
        if recipe.tokenize.vocabulary == "bpe"
        else recipe.tokenize.vocabulary,
        "train": run_text.limits(recipe.train),
        "sample": f"at least every {plural(recipe.train.sample_every, 'step')} of training, and at the end",
    }
    rates = {name: units.rate(stage.rate, stage.unit) if stage.rate else "" for name, stage in summary.stages.items()}
    # the unit of its progress is the nearest limit, whose rate says nothing
    rates["train"] = units.rate(summary.tokens_per_second, "tok") if summary.tokens_per_second else ""
    stages = dict(summary.stages)
    if summary.evaluating:
        stages["train"], rates["train"] = summary.evaluating, "evaluating"
    return [stage_line(name, stages[name], cells, alive, waiting[name], rates[name], failed=failed) for name in STAGES]


def stage_strip(summary: Summary, alive: bool, *, failed: bool = False) -> Line:
    """All five stages with a glyph for their state, in half a line."""
    line: Line = []
    for name in STAGES:
        state = summary.stages[name].state
        glyph, role = ("✓", "good") if state in ("done", "skipped") else ("·", "dim")
        if state == "working" and alive:
            glyph, role = "●", "accent"
        elif state == "working" and failed:
            glyph, role = _FAILED
        line += [(f"  {name} " if line else f"{name} ", "dim"), (glyph, role)]
    return line
