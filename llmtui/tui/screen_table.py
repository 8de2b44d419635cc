"""The screens of the workbench, once: from here come their actions, keys and help, and what the application loads."""

from __future__ import annotations

from typing import NamedTuple


class ScreenEntry(NamedTuple):
    """One screen about a run."""

    number: str
    """The key that shows it from everywhere."""
    name: str
    """Its name in the application, and the scope of its actions in `llmtui.tui.action_table`."""
    class_path: str
    """`module:class`, imported when the screen is first shown. A subclass of `RunScreen`."""
    description: str
    """What its key does, for help and palette."""


SCREENS = (
    ScreenEntry("1", "home", "llmtui.tui.screens.home:Home", "Show the runs."),
    ScreenEntry("2", "data", "llmtui.tui.screens.data_corpora:Corpora", "Show corpora, documents and their cleaning."),
    ScreenEntry("3", "train", "llmtui.tui.screens.train:Train", "Show the selected run in training."),
    ScreenEntry("4", "model", "llmtui.tui.screens.model:Model", "Show the architecture of the selected run's model."),
    ScreenEntry("5", "chat", "llmtui.tui.screens.chat:Chat", "Chat with the selected run's checkpoints."),
    ScreenEntry("6", "compare", "llmtui.tui.screens.compare:Compare", "Compare runs: curves, recipes and results."),
    ScreenEntry("7", "logs", "llmtui.tui.screens.logs:Logs", "Show the log and the journal of the selected run."),
)


class ViewEntry(NamedTuple):
    """One view of a screen of `SCREENS`, a screen of its own."""

    key: str
    """The key that shows it from the other views of that screen."""
    label: str
    """What the header calls it."""
    name: str
    """Its name in the application, and the scope of its actions; the first view has the name of the
    screen."""
    class_path: str
    """`module:class`, imported when the view is first shown. A subclass of `RunScreen`, or `DataScreen`."""
    description: str
    """What its key does, for help and palette."""


DATA_VIEWS = (
    ViewEntry(
        "c",
        "corpora",
        "data",
        "llmtui.tui.screens.data_corpora:Corpora",
        "Show the corpora and artifacts on this machine.",
    ),
    ViewEntry(
        "d",
        "documents",
        "documents",
        "llmtui.tui.screens.data_documents:Documents",
        "Show the documents of the selected run's corpus, raw and cleaned.",
    ),
    ViewEntry(
        "l",
        "cleaning",
        "cleaning",
        "llmtui.tui.screens.data_cleaning:Cleaning",
        "Show what each cleaning step changed and removed, and documents before and after.",
    ),
    ViewEntry(
        "e",
        "tokens",
        "tokens",
        "llmtui.tui.screens.data_tokens:TokensView",
        "Encode a text with two vocabularies and show the tokens.",
    ),
    ViewEntry(
        "b",
        "batch",
        "batch",
        "llmtui.tui.screens.data_batch:BatchScreen",
        "Show what the run is trained on at a step, and the loss of each token.",
    ),
)
"""In the order of the header."""

STUDY = ViewEntry(
    "S",
    "studies",
    "study",
    "llmtui.tui.screens.study:StudyScreen",
    "Show a study: its trials, their curves, which fields matter.",
)
"""A view of the Compare screen."""

NEW_RUN = "new run"
"""The scope of the actions of the new-run form, which is a dialog: no number shows it."""
