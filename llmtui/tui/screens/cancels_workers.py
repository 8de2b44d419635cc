"""Screens whose workers end before their widgets do."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.messages import Prune

if TYPE_CHECKING:
    from textual.dom import DOMNode


class CancelsWorkers:
    """Mixin for screens: cancel the workers as the first step of removing the screen.

    Textual cancels them as the last step. A worker that continues in between, as one does when its thread returns,
    queries a widget that is gone, and ends the application with `NoMatches`.
    """

    async def on_prune(self, event: Prune) -> None:
        node = cast("DOMNode", self)
        node.workers.cancel_node(node)
