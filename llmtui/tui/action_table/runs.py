"""Runs, their list on Home, the form for a new one, logs."""

from __future__ import annotations

from llmtui.tui.action_table.action import Action
from llmtui.tui.screen_table import NEW_RUN

RUNS = (
    Action("run.new", ("n",), "new", "Set up and start a run.", "Runs", ("home",)),
    Action("run.like", ("L",), "new like it", "Set up a run like this one.", "Runs", ("home", "train"), show=False),
    Action(
        "run.study",
        ("s",),
        "study",
        "Start a study of the run's recipe: many trials that look for better values of its fields.",
        "Runs",
        ("home",),
        show=False,
    ),
    Action("home.open", ("enter",), "open", "Show the selected run.", "Runs", ("home",)),
    Action("run.pause", ("space",), "pause", "Pause the run, or continue it.", "Runs", ("home", "train")),
    Action("run.stop", ("x",), "stop", "Save a checkpoint, then stop the run; asks first.", "Runs", ("home", "train")),
    Action("run.resume", ("r",), "resume", "Resume a run that stopped or was interrupted.", "Runs", ("home", "train")),
    Action("run.demo", ("d",), "demo", "Start the demo: a small model in about two minutes.", "Runs", ("home",)),
    Action("run.adjust", ("R",), "resume with", "Resume with other settings.", "Runs", ("home", "train"), show=False),
    Action(
        "run.branch",
        ("b",),
        "branch",
        "Start a run that continues from a checkpoint of this one.",
        "Runs",
        ("train",),
    ),
    Action("run.rate", ("p",), "peak lr", "Change the learning rate while the run trains.", "Runs", ("train",)),
    Action(
        "run.film",
        ("G",),
        "film",
        "Turn the samples of a prompt over, step by step, or what each kept checkpoint makes of it (growth film).",
        "Runs",
        ("train",),
        show=False,
    ),
    Action(
        "run.samples",
        ("A",),
        "samples",
        "List all samples of the run, with the text of the highlighted one.",
        "Runs",
        ("train",),
        show=False,
    ),
    Action("run.checkpoint", ("c",), "checkpoint", "Save a checkpoint at the next step.", "Runs", ("train",)),
    Action("run.sample", ("s",), "sample", "Generate a sample at the next step.", "Runs", ("train",)),
    Action(
        "run.fetch",
        ("F",),
        "fetch",
        "Copy the newest checkpoint of a run of another machine to this one.",
        "Runs",
        ("home", "train", "chat"),
    ),
    Action(
        "run.delete",
        ("D",),
        "delete",
        "Delete the run; its name has to be typed.",
        "Runs",
        ("home", "train"),
        show=False,
    ),
    Action("run.earlier", ("K",), "earlier", "Let a queued run start one run earlier.", "Runs", ("home",)),
    Action("run.later", ("J",), "later", "Let a queued run start one run later.", "Runs", ("home",)),
    Action("run.start", ("S",), "start now", "Start a queued run beside the running one.", "Runs", ("home", "train")),
    Action("run.tag", ("T",), "tag", "Change the tags of the run.", "Runs", ("home", "train"), show=False),
    Action(
        "run.note",
        ("N",),
        "note",
        "Write a note on the run, or on the step at the cursor.",
        "Runs",
        ("home", "train"),
        show=False,
    ),
    Action(
        "run.log",
        ("l",),
        "log",
        "Show the log, at the reason if the run has failed.",
        "Runs",
        ("home", "train"),
        show=False,
    ),
    Action(
        "run.export",
        ("E",),
        "export",
        "Export a checkpoint for transformers, llama.cpp or mlx-lm.",
        "Runs",
        ("home", "train", "chat", "model"),
        show=False,
    ),
    Action(
        "run.archive",
        ("a",),
        "archive",
        "Leave the run out of the list, or list it again.",
        "Runs",
        ("home",),
        show=False,
    ),
)

RUN_LIST = (
    Action(
        "home.filter",
        ("/",),
        "filter",
        "Show only runs with words in their names, and with given results or settings.",
        "List of runs",
        ("home",),
    ),
    Action("home.sort", ("o",), "sort", "Choose the column by which the runs are sorted.", "List of runs", ("home",)),
    Action("home.mark", ("m",), "mark", "Mark the run for Compare, or no longer.", "List of runs", ("home",)),
    Action("home.reverse", ("O",), "reverse", "Reverse the order of the runs.", "List of runs", ("home",), show=False),
    Action("home.columns", ("v",), "columns", "Choose the columns.", "List of runs", ("home",), show=False),
    Action(
        "home.trials",
        ("z",),
        "trials",
        "Show the trials of studies that have ended, or hide them.",
        "List of runs",
        ("home",),
        show=False,
    ),
    Action(
        "home.archived", ("A",), "archived", "Show archived runs, or hide them.", "List of runs", ("home",), show=False
    ),
)

FORM = (
    Action("form.edit", ("enter",), "edit", "Edit the field under the cursor.", "New run", (NEW_RUN,)),
    Action("form.next", ("right",), "next value", "Next value of a choice.", "New run", (NEW_RUN,), show=False),
    Action("form.previous", ("left",), "previous", "Previous value of a choice.", "New run", (NEW_RUN,), show=False),
    Action("form.start", ("ctrl+r",), "start", "Start the run.", "New run", (NEW_RUN,)),
    Action("form.leave", ("escape",), "leave", "Leave the form; what was typed is kept.", "New run", (NEW_RUN,)),
    Action("form.study", ("s",), "study", "Start a study of this recipe instead.", "New run", (NEW_RUN,)),
    Action("form.search", ("/",), "search", "Find fields by name or description.", "New run", (NEW_RUN,)),
    Action("form.documents", ("p",), "documents", "Read the first documents of the source.", "New run", (NEW_RUN,)),
    Action("form.reset", ("r",), "reset", "Set the field back.", "New run", (NEW_RUN,)),
    Action("form.clear", ("C",), "reset all", "Set all fields back.", "New run", (NEW_RUN,), show=False),
    Action("form.copy", ("y",), "command", "Copy the command that does the same.", "New run", (NEW_RUN,)),
    Action("form.save", ("w",), "save", "Save the recipe as a TOML file.", "New run", (NEW_RUN,)),
)

LOGS = (
    Action("logs.search", ("/",), "search", "Search for a text.", "Logs", ("logs",)),
    Action("logs.next", ("n",), "next", "Go to the next line with the text.", "Logs", ("logs",)),
    Action("logs.previous", ("N",), "previous", "Go to the line with the text before this one.", "Logs", ("logs",)),
    Action("logs.only", ("f",), "only these", "Show only the lines with the text, or all.", "Logs", ("logs",)),
    Action("logs.source", ("o",), "log/journal", "Show the journal instead of the log, or the log.", "Logs", ("logs",)),
    Action("logs.failure", ("e",), "error", "Go to the line that says why the run failed.", "Logs", ("logs",)),
)
