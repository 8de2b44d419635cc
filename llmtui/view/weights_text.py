"""The weights of a part of the model as text: figures, histograms, and how norms differ by step and by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from core.jobs.weight_statistics import WeightStatistics
from core.model.parts import BLOCK, block_of, part_of
from llmtui.view.architecture import shape
from llmtui.view.lines import Line, clip, spread, wrap
from llmtui.view.sanitize import shown
from llmtui.view.units import count

LEVELS = "▁▂▃▄▅▆▇█"


class CheckpointWeights(NamedTuple):
    """The statistics of one checkpoint."""

    step: int
    tensors: Mapping[str, WeightStatistics]
    """By name."""


def weight_lines(
    part: str, block: int, checkpoints: Sequence[CheckpointWeights], step: int, cells: int, *, rows: int = 3
) -> list[Line]:
    """The tensors of a part.

    part: its name in `core.model.parts`, or `h` for a whole block. block: from 0; of parts outside blocks ignored.
    checkpoints: in order of their steps. step: that of the checkpoint whose histograms are shown. rows: of a histogram.
    """
    chosen = next((found for found in checkpoints if found.step == step), None)
    if chosen is None:
        return []
    names = [name for name in chosen.tensors if _belongs(name, part, block)]
    lines: list[Line] = []
    for name in sorted(names, key=lambda name: not name.endswith("weight")):
        tensor = chosen.tensors[name]
        lines += [
            spread([(shown(name, 200), "bold")], [(shape(*tensor.size), "dim")], cells),
            _figures(tensor),
        ]
        if tensor.not_finite:
            lines.append([(f"{tensor.not_finite:,} values are infinite or NaN", "bad")])
        lines += histogram_lines(tensor, cells, rows)
        by_step = [(found.step, found.tensors[name].norm) for found in checkpoints if name in found.tensors]
        if len(by_step) > 1:
            lines.append(_norms("step", by_step, cells))
        by_block = norms_by_block(chosen, name)
        if len(by_block) > 1:
            lines.append(_norms("block", by_block, cells))
        lines.append([])
    if not lines and part == "lm_head":
        text = "The output layer is tied: its matrix is that of the token embedding, whose weights are shown there."
        lines = [[(row, "dim")] for row in wrap(text, cells)]
    elif not lines:
        lines = [[("This step has no weights.", "dim")]]
    return [clip(line, cells) for line in lines]


def _figures(tensor: WeightStatistics) -> Line:
    named = (("norm", tensor.norm), ("mean", tensor.mean), ("std", tensor.deviation))
    return [span for name, value in named for span in ((f"{name} ", "dim"), (f"{number(value)}  ", ""))]


def _belongs(name: str, part: str, block: int) -> bool:
    return block_of(name) in (None, block) and part in (part_of(name), BLOCK if block_of(name) is not None else "")


def norms_by_block(checkpoint: CheckpointWeights, name: str) -> list[tuple[int, float]]:
    """Number, from 1, and norm of the tensor in each block that has the place of `name` in its own."""
    if block_of(name) is None:
        return []
    _, _, place = name.split(".", 2)
    found = [
        (number + 1, tensor.norm)
        for other, tensor in checkpoint.tensors.items()
        if (number := block_of(other)) is not None and other.split(".", 2)[2] == place
    ]
    return sorted(found)


def _norms(by: str, norms: Sequence[tuple[int, float]], cells: int) -> Line:
    """`norm by step ▁▄█  400: 11.2, 553: 12.8`: a character for each, the newest ones if they are too many."""
    first, last = norms[0], norms[-1]
    label, ends = f"norm by {by}  ", f"  {first[0]:,}: {number(first[1])}, {last[0]:,}: {number(last[1])}"
    room = max(1, cells - len(label) - len(ends))
    return [(label, "dim"), (bars([norm for _, norm in norms[-room:]]), "bar"), (ends, "dim")]


def bars(values: Sequence[float]) -> str:
    """A character for each value, from the lowest ▁ to the highest █; all the same height if they are equal."""
    low, high = min(values), max(values)
    if high <= low:
        return LEVELS[3] * len(values)
    return "".join(LEVELS[round((value - low) / (high - low) * (len(LEVELS) - 1))] for value in values)


def histogram_lines(tensor: WeightStatistics, cells: int, rows: int) -> list[Line]:
    """The histogram `rows` high, and below it the range of values that it covers."""
    if not tensor.histogram:
        return [[(f"all values are {number(tensor.mean)}", "dim")]]
    counts = _rebinned(tensor.histogram, cells)
    highest = max(counts)
    heights = [round(8 * rows * found / highest) or (1 if found else 0) for found in counts]
    lines: list[Line] = [
        [("".join((" " + LEVELS)[max(0, min(8, height - 8 * row))] for height in heights), "bar")]
        for row in reversed(range(rows))
    ]
    left, right = number(tensor.first), number(tensor.last)
    beyond = (
        f"{tensor.outside:,} beyond, to {number(tensor.lowest)} and {number(tensor.highest)}" if tensor.outside else ""
    )
    line = left + " " * max(2, len(counts) - len(left) - len(right)) + right
    if beyond and len(line) + len(beyond) + 2 <= cells:
        return [*lines, [(f"{line}  {beyond}", "dim")]]
    return [*lines, [(line, "dim")], *([[(beyond, "dim")]] if beyond else [])]


def _rebinned(counts: Sequence[int], cells: int) -> list[int]:
    """`counts` in as many equal groups as fit `cells`."""
    size = next(
        size for size in range(1, len(counts) + 1) if len(counts) % size == 0 and len(counts) // size <= max(1, cells)
    )
    return [sum(counts[start : start + size]) for start in range(0, len(counts), size)]


def number(value: float) -> str:
    """Three significant digits: `12.8`, `-0.0578`, `1.2e-05`; large ones with a unit."""
    if value and abs(value) < 1e-4:
        return f"{value:.1e}"
    return count(value) if abs(value) >= 1000 else f"{value:.3g}"
