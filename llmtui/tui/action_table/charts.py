"""The charts of the Train screen."""

from __future__ import annotations

from llmtui.tui.action_table.action import Action

CHARTS = (
    Action("chart.unit", ("u",), "unit", "Losses in bits per byte, nats or perplexity.", "Charts", ("train",)),
    Action("chart.axis", ("a",), "axis", "Steps, tokens, or training time on the x axis.", "Charts", ("train",), False),
    Action("chart.log", ("y",), "log", "Loss on a logarithmic axis, or a linear one.", "Charts", ("train",)),
    Action("chart.log_x", ("Y",), "log x", "Logarithmic x axis, or a linear one.", "Charts", ("train",), False),
    Action("chart.smoother", ("m",), "smooth", "Smooth the training loss more.", "Charts", ("train",)),
    Action("chart.rougher", ("M",), "rougher", "Smooth the training loss less.", "Charts", ("train",), False),
    Action(
        "chart.cursor",
        ("v",),
        "values",
        "Show the values at a step: a cursor, moved with ← →, by more with pgup pgdn.",
        "Charts",
        ("train",),
    ),
    Action("chart.batch", ("enter",), "batch", "Open the batch of the cursor's step.", "Charts", ("train",), False),
    Action("chart.cursor_left", ("left",), "earlier", "Cursor to an earlier step.", "Charts", ("train",), False),
    Action("chart.cursor_right", ("right",), "later", "Cursor to a later step.", "Charts", ("train",), False),
    Action(
        "chart.cursor_far_left",
        ("pageup", "shift+left"),
        "much earlier",
        "Cursor to a much earlier step.",
        "Charts",
        ("train",),
        False,
    ),
    Action(
        "chart.cursor_far_right",
        ("pagedown", "shift+right"),
        "much later",
        "Cursor to a much later step.",
        "Charts",
        ("train",),
        False,
    ),
    Action("chart.zoom_in", ("plus", "equals_sign"), "zoom", "Show half as many steps.", "Charts", ("train",)),
    Action("chart.zoom_out", ("minus",), "out", "Show twice as many steps.", "Charts", ("train",), False),
    Action("chart.left", ("less_than_sign", "comma"), "left", "Earlier steps.", "Charts", ("train",), False),
    Action("chart.right", ("greater_than_sign", "full_stop"), "right", "Later steps.", "Charts", ("train",), False),
    Action(
        "chart.lower",
        ("right_curly_bracket",),
        "low part",
        "Only the lower half of the values; higher ones are marked.",
        "Charts",
        ("train",),
        False,
    ),
    Action("chart.higher", ("left_curly_bracket",), "more", "Twice the values.", "Charts", ("train",), False),
    Action("chart.reset", ("0",), "all", "Show all steps, and new ones as they come.", "Charts", ("train",), False),
    Action("chart.overlay", ("o",), "overlay", "Lay other runs over this one.", "Charts", ("train",)),
    Action("chart.grid", ("w",), "charts", "Other charts: none, in a row, two by two.", "Charts", ("train",)),
    Action("chart.export", ("e",), "export", "Save the focused chart: CSV, JSON, SVG.", "Charts", ("train",), False),
    Action("chart.full", ("f",), "full", "Only the focused chart, on the whole screen.", "Charts", ("train",)),
)
