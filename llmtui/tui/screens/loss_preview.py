"""The losses of the highlighted run on Home, in terminals that have space for them."""

from __future__ import annotations

from llmtui.tui.chart_table import LOSS
from llmtui.tui.widgets.chart import Chart
from llmtui.view.history import History
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.step_axis import XKind


class LossPreview(Chart, can_focus=False):
    """The loss chart of the Train screen without its keys, over all steps."""

    def __init__(self) -> None:
        super().__init__(LOSS.title, id="curve")
        self._drawn: object = None

    def show(self, snapshot: RunSnapshot | None, history: History | None, smoothing: float, logarithmic: bool) -> None:
        """Draw the losses of a run if they have changed. history: None until its journal is being read."""
        finished = snapshot is not None and not snapshot.state.is_active
        made_of = history, history and (history.summary.events, history.caught_up, history.unit), finished, logarithmic
        if made_of == self._drawn and self.size:
            return
        self._drawn, self.finished, self.logarithmic = made_of, finished, logarithmic
        self.curves = []
        self.placeholder = "no step yet" if history and history.caught_up else "reading the journal …"
        if snapshot is None:
            self.placeholder = ""
        elif history is not None:
            self.positions, self.last_step = history.positions(XKind.STEP), history.curves.loss.end
            self.unit, self.format = history.unit, history.unit.text
            self.curves = [curve.curve(history, self.positions, smoothing) for curve in LOSS.curves]
        self.update()
