"""The weights of the highlighted part, over the checkpoints of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from llmtui.tui.model_draft import ModelDraft
from llmtui.tui.widgets.pane import ScrollPane
from llmtui.view.lines import Line, wrap
from llmtui.view.weights_text import CheckpointWeights, weight_lines


class WeightsPane(ScrollPane):
    """Norms and histograms; what is being read, or how to read it, before they are there."""

    HELP: ClassVar[str] = (
        "The weights of the highlighted part in each checkpoint: norms over the steps, and the distribution of "
        "their values."
    )
    draft: ModelDraft | None = None
    checkpoints: Sequence[CheckpointWeights] = ()
    """In order of their steps."""
    step = 0
    """Of the checkpoint whose histograms are shown."""
    block = 0
    """From 0."""
    status = ""
    """Shown instead of weights, and after them while more are being read."""

    def heading(self, width: int) -> Line:
        where = f"  step {self.step:,}" if self.checkpoints else ""
        if self.checkpoints and self.draft and self.draft.in_block:
            where += f" · block {self.block + 1:,} of {self.draft.base.model.n_layer:,}"
        return [("weights", "title"), (where, "dim")]

    def content(self, width: int) -> list[Line]:
        status: list[Line] = [[(row, "dim")] for row in wrap(self.status, width)] if self.status else []
        if self.draft is None or not self.checkpoints:
            return status
        rows = max(2, min(8, self.inner_size[1] // 7))
        return [
            *weight_lines(self.draft.step.name, self.block, self.checkpoints, self.step, width, rows=rows),
            *status,
        ]
