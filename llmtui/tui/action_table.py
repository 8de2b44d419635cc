"""The actions of the workbench by screen, from which `llmtui.tui.actions` makes bindings, footer and help."""

from __future__ import annotations

from typing import NamedTuple

from llmtui.tui.screen_table import DATA_VIEWS, NEW_RUN, SCREENS

Scope = str
"""The name of a screen in `SCREENS`, of a view in `DATA_VIEWS`, one of `OVER_CHAT`, `NEW_RUN`, or "app"."""

OVER_CHAT = ("xray", "denoising")
"""The screens over the chat, for causal and for masked models."""


class Action(NamedTuple):
    """Something the user can do with a key."""

    id: str
    """`group.verb`: the name in the user's keymap."""
    keys: tuple[str, ...]
    label: str
    """One or two words for the footer."""
    description: str
    group: str
    scopes: tuple[Scope, ...]
    """The screens where its keys work; "app" is all of them."""
    show: bool = True
    """Whether the footer shows it."""

    screen: str = ""
    """The screen it shows, for the actions of the table of screens."""
    view: str = ""
    """The view of the Data screen it shows."""

    @property
    def call(self) -> str:
        """What Textual calls: by default the method `action_group_verb` of the screen or the application."""
        if self.view:
            return f"show_view({self.view!r})"
        return f"show_screen({self.screen!r})" if self.screen else self.id.replace(".", "_")


SHOW_SCREEN = tuple(
    Action(f"app.{s.name}", (s.number,), s.name, s.description, "Screens", ("app",), show=False, screen=s.name)
    for s in SCREENS
)

RUNS = (
    Action("run.new", ("n",), "new", "Set up and start a run.", "Runs", ("home",)),
    Action("run.like", ("L",), "new like it", "Set up a run like this one.", "Runs", ("home", "train"), show=False),
    Action("run.demo", ("d",), "demo", "Start the demo: a small model in about two minutes.", "Runs", ("home",)),
    Action("home.open", ("enter",), "open", "Show the selected run.", "Runs", ("home",)),
    Action("run.pause", ("space",), "pause", "Pause the run, or continue it.", "Runs", ("home", "train")),
    Action("run.stop", ("x",), "stop", "Save a checkpoint, then stop the run; asks first.", "Runs", ("home", "train")),
    Action("run.resume", ("r",), "resume", "Resume a run that stopped or was interrupted.", "Runs", ("home", "train")),
    Action("run.adjust", ("R",), "resume with", "Resume with other settings.", "Runs", ("home", "train"), show=False),
    Action("run.checkpoint", ("c",), "checkpoint", "Save a checkpoint at the next step.", "Runs", ("train",)),
    Action("run.sample", ("s",), "sample", "Generate a sample at the next step.", "Runs", ("train",)),
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
        "Show only some runs: `bard val<1.6 lr>=1e-3 tag:baseline state:failed -word`.",
        "List of runs",
        ("home",),
    ),
    Action("home.sort", ("o",), "sort", "Choose the column by which the runs are sorted.", "List of runs", ("home",)),
    Action("home.reverse", ("O",), "reverse", "Reverse the order of the runs.", "List of runs", ("home",), show=False),
    Action("home.columns", ("v",), "columns", "Choose the columns.", "List of runs", ("home",), show=False),
    Action(
        "home.archived", ("A",), "archived", "Show archived runs, or hide them.", "List of runs", ("home",), show=False
    ),
)

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

DATA_SCOPES = tuple(view.name for view in DATA_VIEWS)

SHOW_VIEW = tuple(
    Action(f"data.{v.label}", (v.key,), v.label, v.description, "Data", DATA_SCOPES, show=False, view=v.name)
    for v in DATA_VIEWS
)

DATA = (
    Action("data.open", ("enter",), "open", "Show the documents of the artifact.", "Data", ("data",)),
    Action("data.delete", ("D",), "delete", "Delete an artifact that no run uses; asks first.", "Data", ("data",)),
)

DOCUMENTS = tuple(
    Action(f"documents.{verb}", (key,), label, description, "Documents", ("documents",), show)
    for verb, key, label, description, show in (
        ("next", "right", "next", "Next document.", True),
        ("previous", "left", "previous", "Previous document.", False),
        ("more", "]", "more", "What follows in a long document.", True),
        ("less", "[", "less", "What comes before in a long document.", False),
        ("jump", "#", "number", "Go to a document by its number.", True),
        ("search", "/", "search", "Search for a text in all documents.", True),
        ("again", "n", "again", "Next place where the text was found.", True),
        ("before", "N", "before", "Previous place where the text was found.", False),
        ("stage", "s", "raw/cleaned", "Turn to the raw documents, or to the cleaned ones.", True),
        ("split", "v", "split", "Turn to the validation documents, or to the training ones.", True),
    )
)

CLEANING = tuple(
    Action(f"cleaning.{verb}", (key,), label, description, "Cleaning", ("cleaning",))
    for verb, key, label, description in (
        ("next", "right", "next", "Next document that the highlighted step changes or removes."),
        ("previous", "left", "previous", "Previous document that the highlighted step changes or removes."),
        ("report", "r", "report", "Turn to the report of the cleaning, or back to the document."),
    )
)

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
    Action("model.preset", ("p",), "preset", "Look at a preset, or at the run again.", "Model", ("model",)),
)

TOKENS = (
    Action("tokens.write", ("i", "enter"), "write", "Go to the text.", "Tokens", ("tokens",)),
    Action(
        "tokens.vocabulary",
        ("o",),
        "vocabulary",
        "Choose another vocabulary for the pane with the focus.",
        "Tokens",
        ("tokens",),
    ),
)

BATCH = (
    Action("batch.earlier", ("[",), "earlier", "Show the batch of the step before.", "Batch", ("batch",)),
    Action("batch.later", ("]",), "later", "Show the batch of the step after.", "Batch", ("batch",)),
    Action("batch.step", ("s",), "step", "Show the batch of a step by its number.", "Batch", ("batch",)),
    Action(
        "batch.losses",
        ("space",),
        "losses",
        "Compute the loss of each token under the nearest checkpoint, or hide it.",
        "Batch",
        ("batch",),
    ),
    Action("batch.sort", ("o",), "order", "Sort the rows by loss, or as in the batch.", "Batch", ("batch",)),
    Action("batch.surprise", ("n",), "next", "Go to the token with the next lower loss.", "Batch", ("batch",)),
    Action("batch.numbers", ("m",), "numbers", "Numbers below the tokens, or running text.", "Batch", ("batch",)),
)

CHAT = (
    Action("chat.write", ("i", "enter"), "write", "Go to the prompt.", "Chat", ("chat",)),
    Action("chat.checkpoint", ("c",), "checkpoint", "Choose the checkpoint that answers.", "Chat", ("chat",)),
    Action("chat.retry", ("r",), "retry", "Ask the last prompt again, with the next seed.", "Chat", ("chat",)),
    Action("chat.edit", ("e",), "edit", "Change the last prompt and ask again.", "Chat", ("chat",)),
    Action(
        "chat.compare",
        ("b",),
        "beside",
        "Let another checkpoint answer beside it from the same seed, or no longer.",
        "Chat",
        ("chat",),
    ),
    Action("chat.surprise", ("s",), "surprise", "Shade each token by its surprise, -log2 p.", "Chat", ("chat",)),
    Action("chat.copy", ("y",), "copy", "Copy the last text, or that of the chosen turn.", "Chat", ("chat",)),
    Action("chat.save", ("w",), "save", "Save the transcript as a Markdown file.", "Chat", ("chat",)),
    Action("chat.sessions", ("o",), "open", "List the earlier conversations, and open one.", "Chat", ("chat",)),
    Action(
        "chat.earlier", ("left_square_bracket",), "earlier", "Choose the turn before.", "Chat", ("chat",), show=False
    ),
    Action("chat.later", ("right_square_bracket",), "later", "Choose the turn after.", "Chat", ("chat",), show=False),
    Action(
        "chat.reset",
        ("R",),
        "reset",
        "Return to the sampler settings of the recipe.",
        "Chat",
        ("chat",),
        show=False,
    ),
    Action(
        "chat.xray", ("X", "ctrl+g"), "x-ray", "Show how each token of the last text was generated.", "Chat", ("chat",)
    ),
    Action("chat.new", ("N",), "new", "Start a new conversation; the old one stays on the disk.", "Chat", ("chat",)),
    Action("chat.stop", ("ctrl+x",), "stop", "Stop generating.", "Chat", ("chat",)),
)

XRAY = (
    Action("xray.earlier", ("left",), "token", "The token before.", "X-ray", OVER_CHAT, show=False),
    Action("xray.later", ("right",), "token", "The token after; of masked models the step.", "X-ray", OVER_CHAT),
    Action("xray.first", ("home",), "first", "The first token.", "X-ray", OVER_CHAT, show=False),
    Action("xray.last", ("end",), "last", "The last token.", "X-ray", OVER_CHAT, show=False),
    Action("xray.up", ("up",), "step", "The step before; of attention the layer.", "X-ray", ("xray",), show=False),
    Action("xray.down", ("down",), "step", "The step after; of attention the layer.", "X-ray", ("xray",)),
    Action(
        "xray.previous", ("k",), "above", "The candidate above; of attention the head.", "X-ray", ("xray",), show=False
    ),
    Action("xray.next", ("j",), "pick", "The candidate below; of attention the head.", "X-ray", ("xray",)),
    Action("xray.take", ("enter",), "take", "Take the candidate instead and go on from it.", "X-ray", ("xray",)),
    Action("xray.attention", ("a",), "attention", "Show the attention of a head, and all heads.", "X-ray", ("xray",)),
    Action("xray.lens", ("l",), "lens", "Show what each layer would predict (logit lens).", "X-ray", ("xray",)),
    Action("xray.branches", ("b",), "branches", "Show the branches as a tree, and go to one.", "X-ray", ("xray",)),
    Action(
        "xray.difference",
        ("d",),
        "difference",
        "Compare the loss of each token with another checkpoint.",
        "X-ray",
        ("xray",),
    ),
)

FORM = (
    Action("form.edit", ("enter",), "edit", "Edit the field under the cursor.", "New run", (NEW_RUN,)),
    Action("form.next", ("right",), "next value", "Next value of a choice.", "New run", (NEW_RUN,), show=False),
    Action("form.previous", ("left",), "previous", "Previous value of a choice.", "New run", (NEW_RUN,), show=False),
    Action("form.start", ("ctrl+r",), "start", "Start the run.", "New run", (NEW_RUN,)),
    Action("form.search", ("/",), "search", "Find fields by name or description.", "New run", (NEW_RUN,)),
    Action("form.documents", ("p",), "documents", "Read the first documents of the source.", "New run", (NEW_RUN,)),
    Action("form.reset", ("r",), "reset", "Set the field back.", "New run", (NEW_RUN,)),
    Action("form.clear", ("C",), "reset all", "Set all fields back.", "New run", (NEW_RUN,), show=False),
    Action("form.copy", ("y",), "command", "Copy the command that does the same.", "New run", (NEW_RUN,)),
    Action("form.save", ("w",), "save", "Save the recipe as a TOML file.", "New run", (NEW_RUN,)),
    Action("form.leave", ("escape",), "leave", "Leave the form; what was typed is kept.", "New run", (NEW_RUN,)),
)

LOGS = (
    Action("logs.search", ("/",), "search", "Search for a text.", "Logs", ("logs",)),
    Action("logs.next", ("n",), "next", "Go to the next line with the text.", "Logs", ("logs",)),
    Action("logs.previous", ("N",), "previous", "Go to the line with the text before this one.", "Logs", ("logs",)),
    Action("logs.only", ("f",), "only these", "Show only the lines with the text, or all.", "Logs", ("logs",)),
    Action("logs.source", ("o",), "log/journal", "Show the journal instead of the log, or the log.", "Logs", ("logs",)),
    Action("logs.failure", ("e",), "error", "Go to the line that says why the run failed.", "Logs", ("logs",)),
)

EVERYWHERE = (
    Action(
        "app.palette",
        (":", "ctrl+p"),
        "commands",
        "Choose an action, a run or a theme by its name.",
        "Everywhere",
        ("app",),
    ),
    Action("app.help", ("?", "f1"), "help", "Show all keys.", "Everywhere", ("app",)),
    Action("app.theme", ("t",), "theme", "Choose the theme.", "Everywhere", ("app",), show=False),
    Action(
        "app.back",
        ("escape",),
        "back",
        "Back by one level.",
        "Everywhere",
        (*{entry.name: None for entry in (*SCREENS, *DATA_VIEWS)}, *OVER_CHAT),
        show=False,
    ),
    Action("app.leave", ("q",), "leave", "Leave the workbench; runs continue.", "Everywhere", ("app",)),
)

ACTIONS = (
    *SHOW_SCREEN,
    *RUNS,
    *RUN_LIST,
    *FORM,
    *CHARTS,
    *MODEL,
    *SHOW_VIEW,
    *DATA,
    *DOCUMENTS,
    *CLEANING,
    *TOKENS,
    *BATCH,
    *CHAT,
    *XRAY,
    *LOGS,
    *EVERYWHERE,
)
"""In the order of the help."""
