"""The screen of a study."""

from __future__ import annotations

from llmtui.tui.action_table.action import Action

_ON = ("study",)

STUDY = (
    Action("study.open", ("enter",), "open", "Show the highlighted trial in training.", "Study", _ON),
    Action("study.view", ("w",), "view", "Curves, importance, best so far, results by field, front.", "Study", _ON),
    Action("study.pause", ("space",), "pause", "Pause the study and its trials, or continue them.", "Study", _ON),
    Action("study.stop", ("x",), "stop", "Stop the study, each trial with a checkpoint; asks first.", "Study", _ON),
    Action("study.resume", ("r",), "resume", "Continue a study that has stopped.", "Study", _ON),
    Action(
        "study.best",
        ("b",),
        "best",
        "Save the best values as a recipe, then set up a run with them at full length.",
        "Study",
        _ON,
    ),
    Action("study.insert", ("i",), "insert", "Insert a trial with values by hand; it is the next one.", "Study", _ON),
    Action(
        "study.clone",
        ("c",),
        "clone",
        "Insert a trial like this one; with another seed if nothing is changed.",
        "Study",
        _ON,
    ),
    Action("study.promote", ("p",), "promote", "Let a trial that waits at a rung train further.", "Study", _ON),
    Action("study.drop", ("d",), "drop", "Drop the highlighted trial; its result does not count.", "Study", _ON),
    Action("study.retry", ("A",), "again", "Insert a trial that failed or was stopped once more.", "Study", _ON, False),
    Action("study.earlier", ("K",), "earlier", "Let an inserted trial start one trial earlier.", "Study", _ON, False),
    Action("study.later", ("J",), "later", "Let an inserted trial start one trial later.", "Study", _ON, False),
    Action("study.edit", ("R",), "settings", "Edit study.toml: limits, space, trials at once.", "Study", _ON),
    Action("study.choose", ("S",), "studies", "Choose another study.", "Study", _ON),
    Action("study.losses", ("s",), "train/val", "Curves of the training or validation loss.", "Study", _ON, False),
    Action("study.sort", ("o",), "sort", "Choose the column that sorts the trials.", "Study", _ON, False),
    Action("study.reverse", ("O",), "reverse", "Reverse the order of the trials.", "Study", _ON, False),
    Action("study.right", ("]",), "columns", "Columns further right.", "Study", _ON, False),
    Action("study.left", ("[",), "columns", "Columns further left.", "Study", _ON, False),
    Action("study.field", ("z",), "field", "Results by the next field.", "Study", _ON, False),
    Action("study.export", ("E",), "export table", "Save the table as CSV and JSON.", "Study", _ON, False),
)
