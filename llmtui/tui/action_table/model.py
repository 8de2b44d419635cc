"""The Model screen."""

from __future__ import annotations

from llmtui.tui.action_table.action import Action

MODEL = (
    Action("model.next", ("right",), "change", "Change the field to its next value.", "Model", ("model",)),
    Action("model.previous", ("left",), "back", "Change it to its previous value.", "Model", ("model",), show=False),
    Action("model.field", ("f",), "field", "Go to the next field of the part.", "Model", ("model",)),
    Action("model.undo", ("u",), "undo", "Take the last change back.", "Model", ("model",)),
    Action("model.weights", ("enter",), "weights", "Look inside: the weights of the part.", "Model", ("model",)),
    Action("model.block_after", ("]",), "block", "The next block's weights.", "Model", ("model",)),
    Action(
        "model.block_before",
        ("[",),
        "block",
        "The previous block's weights.",
        "Model",
        ("model",),
        show=False,
    ),
    Action("model.checkpoint", ("c",), "checkpoint", "Choose whose weights are shown.", "Model", ("model",)),
    Action("model.train", ("n",), "train this", "Set up a run with this model.", "Model", ("model",)),
    Action("model.save", ("s",), "save", "Save it as a recipe file.", "Model", ("model",)),
    Action("model.preset", ("p",), "preset", "Show a preset, or the run again.", "Model", ("model",)),
)
