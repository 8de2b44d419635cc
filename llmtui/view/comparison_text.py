"""A comparison in words: whether results differ by more than seeds do, and what is not the same besides the recipe."""

from __future__ import annotations

from collections.abc import Sequence

from core.runs.origin import origin_differences
from llmtui.view import units
from llmtui.view.comparison import Comparison, RunGroup
from llmtui.view.lines import Line, hanging, wrapped
from llmtui.view.sanitize import shown

CONSEQUENCES = {
    "documents": "Their corpora are not the same.",
    "clean": "Their held-out texts are not the same: validation losses say little about which run is better.",
    "tokens": "Their tokens are not the same: compare bits per byte, not nats per token.",
    "commit": "Another version of the code may train in another way.",
    "torch": "Another version of PyTorch may round in another way.",
    "device": "Another device or precision rounds in another way, and its speed says nothing about the recipe.",
}
"""What a difference means, by `OriginDifference.what`."""


_ONE_OF_EACH = "One run of each: other seeds would show whether that is chance."


def verdict(comparison: Comparison, group: RunGroup) -> str:
    """A sentence on how `group` compares with the baseline, and whether seeds differ as much. Sanitised."""
    measure, baseline = comparison.measure, comparison.baseline
    name = f"{group.glyph} {group.name}"
    if group.key == baseline.key:
        spread = group.spread(measure)
        if spread is None or spread.n < 2:
            return f"{name} is the baseline."
        values = f"{measure.text(spread.low)} to {measure.text(spread.high)}"
        return f"{name} is the baseline: {measure.heading} of {group.seeds(spread.n)} from {values}."
    found = comparison.difference(group)
    one, other = group.spread(measure), baseline.spread(measure)
    if found is None or one is None or other is None:
        missing = name if one is None else f"{baseline.glyph} {baseline.name}"
        return f"{missing} has no {measure.heading} yet."
    if not found.value:
        return f"{name}: {measure.heading} is that of {baseline.glyph} {baseline.name}."
    amount = measure.text(abs(found.value))
    side = "above" if found.value > 0 else "below"
    text = f"{name}: {measure.heading} {amount} {side} {baseline.glyph} {baseline.name}"
    if measure.name in ("best", "val") and group.held_out != baseline.held_out:
        return text + ", on another held-out text, which may account for it."
    if found.spread is None:
        return f"{text}. {_ONE_OF_EACH}"
    seeds = (group if found.spread == one else baseline).seeds(found.spread.n)
    relation = "within" if found.within else "more than"
    return f"{text}, {relation} the spread of {seeds} ({measure.text(found.spread.width)} from lowest to highest)."


def other_differences(comparison: Comparison) -> list[tuple[str, str]]:
    """What differs besides recipe and results: its name, and its values with the numbers of the runs. Sanitised."""
    differences = origin_differences([run.origin for run in comparison.runs])
    length = length_sentence(comparison)
    glyphs = [run.glyph for run in comparison.runs]
    sentences = [(found.what, _values(found.values, glyphs)) for found in differences]
    found = [(what, f"{text}. {CONSEQUENCES.get(what, '')}".strip()) for what, text in sentences]
    return [("tokens trained on", length), *found] if length else found


def length_sentence(comparison: Comparison) -> str:
    """How long runs have trained, if that differs by more than a hundredth; else empty."""
    metrics = [run.snapshot.summary.metric for run in comparison.runs]
    tokens = [metric.tokens if metric else 0 for metric in metrics]
    if max(tokens) - min(tokens) <= max(tokens) / 100:
        return ""
    values = _values([units.count(number) for number in tokens], [run.glyph for run in comparison.runs])
    return f"{values}. Their losses are not those of equally long trainings: look at the curves."


def _values(values: Sequence[str], glyphs: Sequence[str]) -> str:
    by_value: dict[str, list[str]] = {}
    for value, glyph in zip(values, glyphs, strict=True):
        by_value.setdefault(value, []).append(glyph)
    return "; ".join(f"{shown(value, 200)} ({' '.join(which)})" for value, which in by_value.items())


def difference_lines(comparison: Comparison, cells: int) -> list[Line]:
    """The verdicts and the differences besides the recipe, wrapped to `cells` cells."""
    lines: list[Line] = []
    texts = {group.key: verdict(comparison, group) for group in comparison.groups}
    if len(texts) > 1 and len(comparison.baseline.runs) == 1:
        del texts[comparison.baseline.key]  # it says nothing but that it is the baseline, which all others say
    if sum(text.endswith(_ONE_OF_EACH) for text in texts.values()) > 1:  # said once, below
        texts = {key: text.removesuffix(_ONE_OF_EACH).rstrip() for key, text in texts.items()}
        texts[""] = _ONE_OF_EACH
    for text in texts.values():
        lines += hanging([(text, "")], ("· ", "dim"), cells)
    lines.append([])
    sentences = other_differences(comparison)
    if len(comparison.runs) > 1 and not sentences:
        lines += wrapped(
            [("Length, code, PyTorch, machine and data are the same, as far as the runs record them.", "")], cells
        )
    for what, text in sentences:
        lines += hanging([(f"{what}: ", "bold"), (text, "")], ("· ", "dim"), cells)
    return lines
