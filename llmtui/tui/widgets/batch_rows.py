"""The rows of a training batch, with their losses."""

from __future__ import annotations

from typing import ClassVar

from llmtui.tui.widgets.list_pane import ListPane
from llmtui.view import units
from llmtui.view.batch_text import BatchView, summary
from llmtui.view.lines import Line, clip, joined, wrap

_BAR = 8
"""Cells of the bar of the highest loss."""


class BatchRows(ListPane[int]):
    """One line for each row of the batch: number, loss, documents, text. The items are numbers of rows, from 0."""

    HELP: ClassVar[str] = (
        "The rows of the batch: each is one window of the training text. The highlighted one is shown as tokens."
    )
    view: BatchView | None = None
    step_loss: float | None = None
    """What the training recorded as the loss of this step."""
    weights_of: str = ""
    """The checkpoint whose weights the losses are of, such as "step 400"."""
    hint = ""
    """Shown while there is no batch."""

    def heading(self, width: int) -> Line:
        view = self.view
        if view is None:
            return [("batch", "title")]
        parts: list[Line] = [[(f"step {view.batch.step:,}", "title")]]
        if self.step_loss is not None:
            parts.append([(f"loss {units.cost(self.step_loss)} in training", "")])
        if view.loss is not None:
            parts.append([(f"{units.cost(view.loss)} under {self.weights_of}", "train")])
        elif view.scored:
            parts.append([(f"{view.scored:,} of {len(view.batch.rows):,} rows computed", "train")])
        return joined([*parts, [(summary(view.batch), "dim")]], width)

    def placeholder(self, cells: int) -> list[Line]:
        return [[(part, "dim")] for part in wrap(self.hint, cells)]

    def key(self, item: int) -> str:
        return str(item)

    def row(self, item: int, cells: int) -> Line:
        assert self.view is not None
        line: Line = [(f"{item + 1:>{len(str(len(self.items)))}}  ", "dim")]
        loss, text = self.view.row_loss(item), self.view.text(item)
        if loss is not None:
            highest = max(self.view.row_loss(other) or 0.0 for other in self.items)
            filled = round(_BAR * loss / highest) if highest and loss <= highest else 0
            line += [(f"{units.cost(loss):>6} ", ""), (f"{'━' * filled:<{_BAR}}  ", "train")]
        if text.documents > 1:
            line.append((f"{text.documents} documents  ", "dim"))
        return clip([*line, (text.excerpt, "")], cells)
