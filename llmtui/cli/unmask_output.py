"""Printing the states of a text that a masked model unmasks."""

from __future__ import annotations

import sys

import msgspec

from core.sample.protocol import DenoisingState, Generate, Loaded
from llmtui.cli.console import Redrawn, can_redraw, out, out_json
from llmtui.view.sanitize import shown, visible
from llmtui.view.unmask import HIDDEN, cells, styled


class States:
    """The states of one text on standard output: in place on a terminal, elsewhere a line each, or an object each."""

    def __init__(self, request: Generate, *, as_json: bool) -> None:
        self._request, self._as_json = request, as_json
        self._redrawn = Redrawn() if can_redraw() and not as_json else None
        self._cells = 1

    def loaded(self, reply: Loaded) -> None:
        """The model begins."""
        self._cells = cells(self._request.prompt, reply)

    def show(self, text: str, state: DenoisingState) -> None:
        """What stands there now; `text` is what came before the stretch that is being uncovered."""
        if self._as_json:
            out_json({"state": msgspec.to_builtins(state.spans), "tokens": state.tokens})
            return
        before, behind = self._request.prompt + text, self._request.suffix
        if self._redrawn:
            middle = styled(state.spans, self._cells)
            self._redrawn.show([(visible(before), "dim"), *middle, (visible(behind), "dim")])
        else:
            written = "".join(HIDDEN * span.masked + span.text for span in state.spans)
            out(shown(before + written + behind, sys.maxsize))

    def end(self, text: str) -> None:
        """All is there."""
        if self._redrawn:
            self._redrawn.clear()
            out(self._request.prompt + text + self._request.suffix)

    def leave(self) -> None:
        """End the line below what is shown, if anything is: nothing more comes."""
        if self._redrawn and self._redrawn.stands:
            out("")
