"""The dialog that changes the learning rate of a run while it trains."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from core.recipe.schema import Train
from core.train.lr_changes import LearningRateError, parse_lr
from llmtui.tui.screens.dialogs import Dialog
from llmtui.view.axes import scientific
from llmtui.view.sanitize import shown


class LearningRateDialog(Dialog[float | None]):
    """Asks for a peak learning rate, or a multiple of the present one; the result is the factor of those of the recipe,
    or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close")]

    def __init__(self, name: str, train: Train, factor: float) -> None:
        """factor: the present one."""
        super().__init__()
        self._run_name, self._train, self._factor = name, train, factor

    def compose(self) -> ComposeResult:
        peak = scientific(self._factor * self._train.lr)
        with Vertical(classes="dialog"):
            yield Static(
                Content(f"Learning rate of {shown(self._run_name, 64)}: the peak is {peak} now"), classes="title"
            )
            yield Input(placeholder="a new peak such as 4e-4, or x0.5", max_length=30)
            yield Static("", classes="problem")
            yield Static("", id="effect")
            yield Static(
                "It counts from the next step on; warm-up and schedule continue, and Muon and parameter groups change "
                "in proportion. A checkpoint is saved first: b branches from it without the change.",
                classes="detail",
            )
            yield Static("enter changes it · esc leaves it as it is", classes="hint")

    @on(Input.Changed)
    def _check(self, message: Input.Changed) -> None:
        problem, effect = "", ""
        if message.value.strip():
            try:
                factor = parse_lr(message.value, self._train, self._factor)
            except LearningRateError as error:
                problem = f"{error.what}: {error.todo}"
            else:
                before, after = (scientific(each * self._train.lr) for each in (self._factor, factor))
                effect = f"{before} → {after}, {factor / self._factor:.3g} times the present one"
        self.query_one(".problem", Static).update(Content(shown(problem, 400)))
        self.query_one("#effect", Static).update(Content(effect))

    @on(Input.Submitted)
    def _take(self, message: Input.Submitted) -> None:
        try:
            self.dismiss(parse_lr(message.value, self._train, self._factor))
        except LearningRateError as error:
            self.query_one(".problem", Static).update(Content(shown(f"{error.what}: {error.todo}", 400)))

    def action_close(self) -> None:
        self.dismiss(None)
