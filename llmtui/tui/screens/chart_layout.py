"""Where the charts of a screen are: the loss alone, others beside it, one on the whole screen."""

from __future__ import annotations

from typing import ClassVar

from llmtui.tui.chart_table import CHARTS, LOSS, SMALL_CHARTS, ChartEntry
from llmtui.tui.screens.overlaid_screen import OverlaidScreen
from llmtui.tui.widgets.chart import Chart

LAYOUTS = ("none", "row", "grid")
"""Of the charts beside the loss; each is a class of the style sheet."""

MIN_WIDTH = 26
"""Cells of the narrowest chart of a row."""


class ArrangedScreen(OverlaidScreen):
    """A screen with a widget for each of `ENTRIES`."""

    ENTRIES: ClassVar[tuple[ChartEntry, ...]] = CHARTS

    def on_mount(self) -> None:
        self._set_layout()

    def chart(self, entry: ChartEntry) -> Chart:
        """The widget of `entry`."""
        return self.query_one(f"#{entry.id}", Chart)

    @property
    def chart_in_focus(self) -> Chart:
        """The focused chart, else that of the loss."""
        return self.focused if isinstance(self.focused, Chart) else self.chart(LOSS)

    def action_chart_grid(self) -> None:
        layout = LAYOUTS[(LAYOUTS.index(self.chart_layout) + 1) % len(LAYOUTS)]
        self.session.remember(small_charts=layout)
        self._set_layout()
        words = {"none": "Only the loss.", "row": "The other charts in a row.", "grid": "The other charts two by two."}
        self.show_notice(words[layout])
        self.call_after_refresh(self.arrange_charts)

    @property
    def chart_layout(self) -> str:
        """The layout in force: the user's, or that of the style sheet for this size."""
        chosen = self.session.ui_state.small_charts
        if chosen in LAYOUTS:
            return chosen
        if self.has_class("-narrow") or not self.has_class("-tall"):
            return "none"
        return "grid" if self.has_class("-wide") else "row"

    def _set_layout(self) -> None:
        for name in LAYOUTS:
            self.set_class(self.session.ui_state.small_charts == name, f"-charts-{name}")

    def arrange_charts(self) -> None:
        """Leave out the charts for which a row has no space, then draw. Called after a change of the layout."""
        small = self.query_one("#small")
        fitting = max(2, small.size.width // MIN_WIDTH) if self.chart_layout == "row" else len(SMALL_CHARTS)
        for number, entry in enumerate(SMALL_CHARTS):
            self.chart(entry).set_class(number >= fitting, "-left-out")
        self.call_after_refresh(self.redraw)

    def action_chart_full(self) -> None:
        full, chosen = not self.has_class("-full"), self.chart_in_focus
        for entry in self.ENTRIES:
            self.chart(entry).set_class(full and self.chart(entry) is chosen, "-shown")
        self.query("#small").set_class(full and chosen.id != LOSS.id, "-shown")
        self.set_class(full, "-full")
        self.call_after_refresh(self.redraw)
