"""The views of the Data screen."""

from __future__ import annotations

from llmtui.tui.action_table.action import Action
from llmtui.tui.screen_table import DATA_VIEWS

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
