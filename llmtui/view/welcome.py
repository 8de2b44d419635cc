"""What is shown before the first run: this machine, and the ways to begin with what each costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmtui.view import units
from llmtui.view.lines import Line, hanging, wrap
from llmtui.view.sanitize import shown

if TYPE_CHECKING:
    from core.hardware import Machine

MAX_CELLS = 92
"""Longer lines are hard to read."""

FULL_FROM = 18
"""Lines from which each way to begin is explained."""

_WHAT = (
    "llmtui trains a GPT-style language model from scratch, on this machine, and shows it happening:"
    " real text becomes tokens, tokens train a Transformer, the Transformer writes text."
)
_WAYS = (
    (
        "d",
        "start the demo: a small GPT, about two minutes of training, no network",
        "It learns the Python standard library; the first sample, and a checkpoint to chat with, come within half a"
        " minute of training.",
    ),
    (
        "n",
        "a run of your own: a file, a folder, an address, a data set of the hub",
        "Five minutes of training unless you set more; a network only for addresses and data sets.",
    ),
    (
        "$",
        "a published model, on your text: llmtui run TEXT --preset gpt2 --set model.init=hf:gpt2",
        "From the command line; it downloads 550 MB once. With its 124 million parameters it needs a GPU: the same"
        " command with `plan` for `run` predicts memory and time here, and `--set train.minutes=30` limits it.",
    ),
)
_LEAVING = "Runs continue when you leave; come back at any time with `llmtui`."


def machine_text(machine: Machine, memory_free: int, disk_free: int) -> str:
    """One line about a machine. memory_free, disk_free: bytes."""
    parts = [shown(machine.words(), 60), f"{memory_free / 2**30:.0f} GiB of memory free"]
    return " · ".join([*parts, f"{units.size(disk_free)} of disk free"])


def welcome_lines(machine: str, width: int, height: int) -> list[Line]:
    """At most `height` lines. machine: a line about it; empty while it is being read."""
    cells, full = min(width, MAX_CELLS), height >= FULL_FROM
    lines: list[Line] = []
    if machine and height > 10:
        lines += [[(part, "accent")] for part in wrap(f"This machine: {machine}", cells)]
    if height > 14:
        lines += [[]] if full and lines else []
        lines += [[(part, "")] for part in wrap(_WHAT, cells)]
    lines.append([])
    for key, what, cost in _WAYS:
        lines += hanging([(what, "bold" if full else "")], (f"  {key}  ", "key"), cells)
        if full:
            lines += hanging([(cost, "dim")], ("     ", ""), cells)
    lines += [[]] if full else []
    lines += hanging([("all keys", "")], ("  ?  ", "key"), cells)
    return [*lines, *([(part, "dim")] for part in wrap(_LEAVING, cells))][:height]
