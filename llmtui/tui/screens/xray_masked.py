"""X-ray of a text that a masked model generated: its denoising steps."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from core.checkpoints import step_of
from core.sample.protocol import Generate
from llmtui.clients.reply_inspection import DenoisingInspection
from llmtui.tui.actions import bindings, key_line
from llmtui.tui.screens.run_screen import RunScreen
from llmtui.tui.widgets.bars import FooterBar, HeaderBar
from llmtui.tui.widgets.figure_pane import FigurePane
from llmtui.view.lines import Line, wrap
from llmtui.view.sanitize import shown
from llmtui.view.xray_texts import denoising_lines, film_lines

_REDRAWS = 8.0
"""Redraws per second while the steps arrive."""


_KEYS = (
    ("xray.earlier xray.later", "step"),
    ("xray.first xray.last", "first, last"),
    ("app.back", "back"),
    ("app.palette", "commands"),
    ("app.help", "help"),
)


class Denoising(RunScreen):
    """The steps, walked with the arrow keys."""

    SCOPE = "denoising"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("denoising")]
    CSS_PATH = "xray.tcss"

    def __init__(self, request: Generate) -> None:
        super().__init__()
        self._request = request
        self._step = 1
        self._inspection: DenoisingInspection | None = None
        self._changed = False

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="top")
        yield FigurePane(id="text-steps")
        yield from self.compose_footer()

    def on_mount(self) -> None:
        self._inspection = DenoisingInspection(self.session.inference_client, self._request)
        self.run_worker(self._inspection.load(self._on_change), exit_on_error=True)
        self.set_interval(1 / _REDRAWS, self._draw_changed)
        self._draw()

    def _on_change(self) -> None:
        self._changed = True

    def _draw_changed(self) -> None:
        if self._changed:
            self._changed = False
            self._draw()

    def _draw(self) -> None:
        assert self._inspection is not None
        total = len(self._inspection.states)
        header = self.query_one(HeaderBar)
        header.left = [("x-ray", "title"), (f"  step {step_of(Path(self._request.checkpoint)):,}", "accent")]
        more = "" if self._inspection.complete else " …"
        header.right = [(f"denoising step {self._step:,} of {total:,}{more}", "bold")] if total else []
        header.update()
        self.query_one("#text-steps", FigurePane).show([("text out of the noise", "title")], self._lines)
        footer = self.query_one(FooterBar)
        footer.override = key_line(_KEYS, self.session.keymap)
        footer.update()

    def _lines(self, cells: int, rows: int) -> list[Line]:
        inspection = self._inspection
        assert inspection is not None
        if inspection.error:
            return [[(part, "bad")] for part in wrap(shown(inspection.error), cells)]
        if not inspection.states:
            return [[("Generating it again, step by step …", "dim")]]
        at = self._step - 1
        total = len(inspection.states)
        prompt, before = self._request.prompt, inspection.before[at]
        lines = denoising_lines(prompt, before, inspection.states[at], self._step, total, 2, cells, rows)
        return lines + film_lines(prompt, inspection.before, inspection.states, self._step, cells, rows - len(lines))

    def _move(self, step: int) -> None:
        assert self._inspection is not None
        self._step = max(1, min(step, len(self._inspection.states)))
        self._draw()

    def action_xray_earlier(self) -> None:
        self._move(self._step - 1)

    def action_xray_later(self) -> None:
        self._move(self._step + 1)

    def action_xray_first(self) -> None:
        self._move(1)

    def action_xray_last(self) -> None:
        self._move(10**9)

    def action_app_back(self) -> None:
        self.dismiss()
