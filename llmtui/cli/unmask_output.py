"""Print a text while a masked model unmasks it."""

from __future__ import annotations

import sys

import msgspec

from core.sample.protocol import DenoisingState, Generate, Loaded
from llmtui.cli.console import LiveText, can_redraw, print_json, print_output
from llmtui.view.sanitize import shown, visible
from llmtui.view.unmask import MASK, mask_width, styled


class UnmaskingPrinter:
    """Prints each state of one text: in place on a terminal, otherwise as a line or a JSON object each."""

    def __init__(self, request: Generate, *, as_json: bool) -> None:
        self._request, self._as_json = request, as_json
        self._live = LiveText() if can_redraw() and not as_json else None
        self._mask_width = 1

    def start(self, reply: Loaded) -> None:
        """Call when the model has been loaded."""
        self._mask_width = mask_width(self._request.prompt, reply)

    def show(self, text: str, state: DenoisingState) -> None:
        """Print `state`. text: the generated text before the part that is being unmasked."""
        if self._as_json:
            print_json({"state": msgspec.to_builtins(state.spans), "tokens": state.tokens})
            return
        before, after = self._request.prompt + text, self._request.suffix
        if self._live:
            middle = styled(state.spans, self._mask_width)
            self._live.show([(visible(before), "dim"), *middle, (visible(after), "dim")])
        else:
            line = "".join(MASK * span.masked + span.text for span in state.spans)
            print_output(shown(before + line + after, sys.maxsize))

    def finish(self, text: str) -> None:
        """Replace the last state by the complete text, on a terminal."""
        if self._live:
            self._live.clear()
            print_output(self._request.prompt + text + self._request.suffix)

    def abort(self) -> None:
        """End the line of the last state, if one is shown."""
        if self._live and self._live.is_shown:
            print_output("")
