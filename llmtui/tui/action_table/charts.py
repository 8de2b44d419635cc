"""The charts of the Train, Compare and study screens, and the table of Compare."""

from __future__ import annotations

from llmtui.tui.action_table.action import Action
from llmtui.tui.screen_table import STUDY

ON = ("train", "compare", "study")
"""The screens with charts."""

CHARTS = (
    Action("chart.unit", ("u",), "unit", "Losses in bits per byte, nats or perplexity.", "Charts", ON),
    Action("chart.axis", ("a",), "axis", "Steps, tokens, or training time on the x axis.", "Charts", ON, False),
    Action("chart.log", ("y",), "log", "Loss on a logarithmic axis, or a linear one.", "Charts", ON),
    Action("chart.log_x", ("Y",), "log x", "Logarithmic x axis, or a linear one.", "Charts", ON, False),
    Action("chart.smoother", ("m",), "smooth", "Smooth the training loss more.", "Charts", ON),
    Action("chart.rougher", ("M",), "rougher", "Smooth the training loss less.", "Charts", ON, False),
    Action(
        "chart.cursor",
        ("v",),
        "values",
        "Show the values at a step: a cursor, moved with ← →, by more with pgup pgdn.",
        "Charts",
        ON,
    ),
    Action("chart.batch", ("enter",), "batch", "Open the batch of the cursor's step.", "Charts", ("train",), False),
    Action("chart.cursor_left", ("left",), "earlier", "Cursor to an earlier step.", "Charts", ON, False),
    Action("chart.cursor_right", ("right",), "later", "Cursor to a later step.", "Charts", ON, False),
    Action(
        "chart.cursor_far_left",
        ("pageup", "shift+left"),
        "much earlier",
        "Cursor to a much earlier step.",
        "Charts",
        ON,
        False,
    ),
    Action(
        "chart.cursor_far_right",
        ("pagedown", "shift+right"),
        "much later",
        "Cursor to a much later step.",
        "Charts",
        ON,
        False,
    ),
    Action("chart.zoom_in", ("plus", "equals_sign"), "zoom", "Show half as many steps.", "Charts", ON),
    Action("chart.zoom_out", ("minus",), "out", "Show twice as many steps.", "Charts", ON, False),
    Action("chart.left", ("less_than_sign", "comma"), "left", "Earlier steps.", "Charts", ON, False),
    Action("chart.right", ("greater_than_sign", "full_stop"), "right", "Later steps.", "Charts", ON, False),
    Action(
        "chart.lower",
        ("right_curly_bracket",),
        "low part",
        "Only the lower half of the values; higher ones are marked.",
        "Charts",
        ON,
        False,
    ),
    Action("chart.higher", ("left_curly_bracket",), "more", "Twice the values.", "Charts", ON, False),
    Action("chart.reset", ("0",), "all", "Show all steps, and new ones as they come.", "Charts", ON, False),
    Action("chart.overlay", ("o",), "overlay", "Lay other runs over this one.", "Charts", ("train",)),
    Action("chart.grid", ("w",), "charts", "Other charts: none, in a row, two by two.", "Charts", ("train",)),
    Action("chart.export", ("e",), "export", "Save the focused chart: CSV, JSON, SVG.", "Charts", ON, False),
    Action("chart.full", ("f",), "full", "Only the focused chart, on the whole screen.", "Charts", ON),
)

COMPARE = (
    Action(
        "compare.choose",
        ("c",),
        "choose",
        "Choose the runs, by the filter of Home. Those marked there with m are the first choice.",
        "Compare",
        ("compare",),
    ),
    Action("compare.open", ("enter",), "open", "Show the runs of a group, or open the run.", "Compare", ("compare",)),
    Action("compare.baseline", ("b",), "baseline", "Give differences to the highlighted row.", "Compare", ("compare",)),
    Action("compare.studies", ("S",), "studies", STUDY.description, "Compare", ("compare",)),
    Action(
        "compare.losses", ("s",), "train/val", "Curves of the training or validation loss.", "Compare", ("compare",)
    ),
    Action("compare.sort", ("o",), "sort", "Choose the column that sorts the table.", "Compare", ("compare",)),
    Action("compare.reverse", ("O",), "reverse", "Reverse the order of the table.", "Compare", ("compare",), False),
    Action("compare.right", ("]",), "columns", "Columns further right.", "Compare", ("compare",)),
    Action("compare.left", ("[",), "columns", "Columns further left.", "Compare", ("compare",), False),
    Action(
        "compare.view",
        ("w",),
        "view",
        "Show chart, table or differences, where not all of them have space.",
        "Compare",
        ("compare",),
    ),
    Action(
        "compare.export",
        ("E",),
        "export table",
        "Save the table as CSV and JSON.",
        "Compare",
        ("compare",),
        False,
    ),
)
