"""What the keys of the X-ray screen do, of which `llmtui.tui.screens.xray` draws the rest."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

from core.plural import plural
from core.runs.remote_state import inference_checkpoints, inference_path
from llmtui.clients.reply_inspection import InspectedToken, LossDifference, ReplyInspection
from llmtui.tui.screens.picker import Choice, Picker
from llmtui.tui.screens.run_screen import RunScreen
from llmtui.view import xray_steps, xray_texts
from llmtui.view.xray_tokens import token_chip

Mode = Literal["steps", "attention", "lens", "difference"]


class XrayActions(RunScreen):
    """State and keys of the X-ray of one text."""

    def __init__(self, inspection: ReplyInspection) -> None:
        super().__init__()
        self.inspection = inspection
        self.mode: Mode = "steps"
        self.number = 1
        """Of the token shown, from 1."""
        self.step = 4
        self.candidate = 0
        """Index of the candidate under the cursor."""
        self.layer_number, self.head_number = 1, 1
        self.difference: LossDifference | None = None
        self.at = 0
        """The token under the cursor of the loss difference."""

    # -- of the screen --------------------------------------------------------------------------------------------

    def redraw(self) -> None:
        """Draw everything again."""
        raise NotImplementedError

    def changed(self) -> None:
        """Draw soon."""
        raise NotImplementedError

    def load_branch(self) -> None:
        """Generate what is missing of the branch shown."""
        raise NotImplementedError

    def load_context(self) -> None:
        """Compute outputs and layers of the token shown, a moment later."""
        raise NotImplementedError

    # -- state ----------------------------------------------------------------------------------------------------

    @property
    def token(self) -> InspectedToken | None:
        """The token shown; None until it was generated again."""
        tokens = self.inspection.branch.tokens
        return tokens[self.number - 1] if self.number <= len(tokens) else None

    @property
    def layer_count(self) -> int:
        """Of the model."""
        return self.snapshot.run.recipe.model.n_layer if self.snapshot else 1

    @property
    def head_count(self) -> int:
        """Of each layer."""
        return self.snapshot.run.recipe.model.n_head if self.snapshot else 1

    def select_candidate(self) -> None:
        """Put the cursor on the token that was taken."""
        token = self.token
        if token is not None:
            ids = [candidate.token.id for candidate in token.probabilities.candidates]
            self.candidate = ids.index(token.sampled.token.id)

    def branch_tree(self, cells: int) -> list[tuple[int, str, str]]:
        """The branches as lines; none if there is only one."""
        inspection = self.inspection
        if len(inspection.branches) == 1:
            return []
        nodes = [
            (branch.parent, branch.start, "".join(each.appended.text for each in branch.tokens[branch.start - 1 :]))
            for branch in inspection.branches
        ]
        return xray_texts.tree_lines(nodes, inspection.current, cells)

    # -- actions --------------------------------------------------------------------------------------------------

    def is_available(self, action: str) -> bool:
        if action in ("xray.take", "xray.down", "xray.next"):
            return self.token is not None and (
                self.mode == "steps" or (self.mode == "attention" and action != "xray.take")
            )
        if action == "xray.branches":
            return len(self.inspection.branches) > 1
        return True

    def _move(self, number: int) -> None:
        if self.mode == "difference" and self.difference is not None:
            self.at = max(0, min(self.at + number - self.number, len(self.difference.first.nats) - 1))
        else:
            number = max(1, min(number, len(self.inspection.branch.tokens)))
            if number == self.number:
                return
            self.number = number
            self.select_candidate()
            self.load_context()
        self.redraw()

    def action_xray_earlier(self) -> None:
        self._move(self.number - 1)

    def action_xray_later(self) -> None:
        self._move(self.number + 1)

    def action_xray_first(self) -> None:
        self._move(self.number - 10**9)

    def action_xray_last(self) -> None:
        self._move(self.number + 10**9)

    def action_xray_up(self) -> None:
        self._change(-1)

    def action_xray_down(self) -> None:
        self._change(1)

    def _change(self, by: int) -> None:
        """The step before or after; of attention the layer."""
        if self.mode == "attention":
            self.layer_number = max(1, min(self.layer_number + by, self.layer_count))
        elif self.mode == "steps":
            self.step = max(1, min(self.step + by, len(xray_steps.STEPS)))
        self.redraw()

    def action_xray_previous(self) -> None:
        self._choose(-1)

    def action_xray_next(self) -> None:
        self._choose(1)

    def _choose(self, by: int) -> None:
        """The candidate above or below; of attention the head."""
        token = self.token
        if self.mode == "attention":
            self.head_number = max(1, min(self.head_number + by, self.head_count))
        elif self.mode == "steps" and token is not None:
            self.candidate = max(0, min(self.candidate + by, len(token.probabilities.candidates) - 1))
            if self.step not in (4, 5):
                self.step = 4
        self.redraw()

    def action_xray_take(self) -> None:
        token = self.token
        if token is None or self.mode != "steps":
            return
        candidate = token.probabilities.candidates[self.candidate].token
        if candidate.id == token.sampled.token.id:
            self.show_notice("That token was taken. j and k choose another one.")
            return
        new = self.inspection.take(self.number, candidate.id)
        self.load_branch()
        what = "The text continues from" if new else "Back at the branch with"
        self.show_notice(f"{what} {token_chip(candidate)}; b shows the branches, kept until the workbench ends.")
        self.redraw()

    def action_xray_branches(self) -> None:
        if len(self.inspection.branches) == 1:
            self.show_notice("There is one text so far: enter on another candidate makes a branch.")
            return
        choices = [Choice(str(index), text) for index, text, _ in self.branch_tree(60)]

        def on_choice(value: str | None) -> None:
            if value is not None:
                self.inspection.current = int(value)
                self.number = max(1, min(self.number, len(self.inspection.branch.tokens)))
                self.load_branch()
                self.redraw()

        self.app.push_screen(Picker("Branches", choices, current=str(self.inspection.current)), on_choice)

    def action_xray_attention(self) -> None:
        self._show_mode("attention")

    def action_xray_lens(self) -> None:
        self._show_mode("lens")

    def _show_mode(self, mode: Mode) -> None:
        self.mode = "steps" if self.mode == mode else mode
        self.load_context()
        self.redraw()

    async def action_xray_difference(self) -> None:
        snapshot, request = self.snapshot, self.inspection.request
        if snapshot is None:
            return
        own = Path(request.checkpoint)
        checkpoints = await asyncio.to_thread(inference_checkpoints, snapshot.run)
        others = [each for each in checkpoints if each.path.name != own.name]
        if not others:
            self.show_notice("There is no other checkpoint to compare with yet.", "warn")
            return

        def on_choice(name: str | None) -> None:
            if name is None:
                return
            text = request.prompt + self.inspection.branch.text
            self.difference = LossDifference(
                self.session.inference_client, text, (inference_path(snapshot.run, name), own), request.cleaning
            )
            self.mode, self.at = "difference", 0
            self.run_worker(self.difference.load(self.changed), exit_on_error=True, group="difference", exclusive=True)
            self.redraw()

        choices = [Choice(each.path.name, each.path.name) for each in reversed(others)]
        title = f"Compare the loss of this text ({plural(len(self.inspection.branch.tokens), 'new token')}) with"
        self.app.push_screen(Picker(title, choices), on_choice)

    def action_app_back(self) -> None:
        if self.mode != "steps":
            self.mode = "steps"
            self.redraw()
        else:
            self.dismiss()
