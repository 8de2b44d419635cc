"""Data, batch: what the selected run is trained on at one step, and the loss of each token of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from pathlib import PurePath
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.widget import Widget

from core.checkpoints import nearest_checkpoint, readable_checkpoints, step_of
from core.errors import LlmtuiError
from core.runs.step_metric import metric_of_step
from core.sample.protocol import AnyTask, ReadBatch, ScoreBatch, Tokens
from core.sample.token_protocol import AnyTokenResult, BatchSource, RowLosses, TrainingBatch
from llmtui.tui.actions import bindings
from llmtui.tui.run_watcher import RunsUpdated
from llmtui.tui.screens.data import DataScreen
from llmtui.tui.widgets.batch_rows import BatchRows
from llmtui.tui.widgets.token_grid import TokenGrid
from llmtui.view import units
from llmtui.view.batch_text import BatchView
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown

_DEBOUNCE = 0.06
"""Seconds after the last key before a batch is read."""


class BatchScreen(DataScreen):
    """The rows of a batch above, the tokens of the highlighted one below; beside each other in wide terminals."""

    SCOPE = "batch"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("batch")]
    CSS_PATH: ClassVar[list[str | PurePath]] = ["data.tcss", "data_batch.tcss"]
    AUTO_FOCUS: ClassVar[str] = "BatchRows"

    def __init__(self) -> None:
        super().__init__()
        self._chosen: tuple[str, int] = ("", 0)
        """Run id and step that the user chose."""
        self._with_losses = False
        """Whether the losses of each batch are computed."""
        self._by_loss = False
        self._shown: tuple[str, int] = ("", 0)
        """Run id and step of the batch that is shown or being read."""
        self._surprise = 0
        """Number of the token under the cursor among those with the highest losses."""

    def compose_view(self) -> Iterable[Widget]:
        yield BatchRows(id="rows")
        yield TokenGrid(id="row")

    # -- run and step ---------------------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        """The step whose batch is shown: the chosen one, else the last one of the run."""
        return self._chosen[1] if self._has_chosen else max(1, self._last_step)

    @property
    def _has_chosen(self) -> bool:
        return self.snapshot is not None and self.snapshot.run.id == self._chosen[0]

    @property
    def _last_step(self) -> int:
        """The last step that the run has taken; 0 before the first one."""
        metric = self.snapshot.summary.metric if self.snapshot else None
        return metric.step if metric else 0

    def show_step(self, step: int) -> None:
        """Show the batch of training step `step` of the selected run; the first step is 1."""
        self._chosen = self.session.selected_id, max(1, step)
        if self.is_mounted:
            self._read_if_changed()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._read_if_changed()

    @on(RunsUpdated)
    def _read_if_changed(self) -> None:
        """Read the batch if the run or the step is another one. A batch that is shown stays during training."""
        snapshot = self.snapshot
        run_id = snapshot.run.id if snapshot else ""
        wanted = run_id, self.step
        if self._shown == (wanted if self._has_chosen else (run_id, self._shown[1] or wanted[1])):
            return
        if not snapshot or not snapshot.artifact("tokenize"):
            what = "This run has no tokens yet." if snapshot else "There is no run yet: 1 shows the runs."
            self._show_nothing(f"{what} A batch can be shown as soon as the corpus is tokenized.")
            return
        self._shown = wanted
        self.run_worker(self._read(snapshot, self.step), exclusive=True, group="batch", exit_on_error=True)

    def _show_nothing(self, hint: str) -> None:
        rows, grid = self.query_one(BatchRows), self.query_one(TokenGrid)
        rows.view, rows.hint = None, hint
        rows.show_items(())
        grid.title = [[("row", "title")]]
        grid.show_tokens(())
        self.show_header()

    # -- reading --------------------------------------------------------------------------------------------------

    async def _read(self, snapshot: RunSnapshot, step: int) -> None:
        await asyncio.sleep(_DEBOUNCE)
        rows = self.query_one(BatchRows)
        if rows.view is None:
            self._show_nothing("reading the batch …")
        recipe = snapshot.run.recipe
        source = BatchSource(tokens=snapshot.artifact("tokenize"), model=recipe.model, train=recipe.train, step=step)
        try:
            async for result in self._ask(ReadBatch(id=0, batch=source)):
                if isinstance(result, TrainingBatch):
                    self._show_batch(BatchView(result))
            metric = await asyncio.to_thread(metric_of_step, snapshot.run.journal, step)
            rows.step_loss = metric.loss if metric else None
            rows.update()
            if self._with_losses:
                await self._score(snapshot, source)
        except LlmtuiError as error:
            self._shown = "", 0
            where = f" ({error.where})" if error.where else ""
            todo = f"; {error.todo}" if error.todo else ""
            self._show_nothing(shown(f"The batch cannot be read: {error.what}{where}{todo}"))

    async def _ask(self, request: AnyTask) -> AsyncIterator[AnyTokenResult]:
        async with aclosing(self.session.inference_client.stream(request)) as replies:
            async for reply in replies:
                if isinstance(reply, Tokens):
                    yield reply.result

    async def _score(self, snapshot: RunSnapshot, source: BatchSource) -> None:
        """Compute the losses of the batch under the nearest checkpoint."""
        found = await asyncio.to_thread(readable_checkpoints, snapshot.run.checkpoints)
        checkpoint = nearest_checkpoint(found, source.step)
        rows, view = self.query_one(BatchRows), self.query_one(BatchRows).view
        if checkpoint is None:
            self.show_notice("This run has no checkpoint yet, whose weights the losses would be of.", "warn")
            return
        assert view is not None
        rows.weights_of = f"step {step_of(checkpoint.path):,}"
        async for result in self._ask(ScoreBatch(id=0, checkpoint=str(checkpoint.path), batch=source)):
            if isinstance(result, RowLosses):
                view.add(result)
                rows.update()
                if rows.highlighted == result.row:
                    self._show_row()
        self._order_rows()

    # -- showing --------------------------------------------------------------------------------------------------

    def _show_batch(self, view: BatchView) -> None:
        rows = self.query_one(BatchRows)
        rows.view, rows.step_loss = view, None
        rows.show_items(range(len(view.batch.rows)))
        self._show_row()

    def _order_rows(self) -> None:
        rows = self.query_one(BatchRows)
        if rows.view:
            rows.show_items(rows.view.by_loss() if self._by_loss else range(len(rows.view.batch.rows)))

    @on(BatchRows.Highlighted)
    def _show_row(self) -> None:
        rows, grid = self.query_one(BatchRows), self.query_one(TokenGrid)
        if rows.view is None or rows.highlighted is None:
            return
        row, view = rows.highlighted, rows.view
        loss = view.row_loss(row)
        grid.title = [[(f"row {row + 1:,} of {len(view.batch.rows):,}", "title")]]
        if loss is not None:
            grid.title += [[(f"loss {units.cost(loss)}", "")]]
        grid.title.append([(f"from token {view.batch.rows[row].start:,} of the training text", "dim")])
        worst = view.worst_tokens(row)
        self._surprise = 0
        grid.show_tokens(view.grid(row), cursor=worst[0] if worst else 0)
        self.show_header()

    # -- actions --------------------------------------------------------------------------------------------------

    def is_available(self, action: str) -> bool:
        rows = self.query_one(BatchRows)
        if action in ("batch.sort", "batch.surprise"):
            return rows.view is not None and bool(rows.view.scored)
        if action in ("batch.earlier", "batch.later", "batch.losses"):
            return rows.view is not None
        return super().is_available(action)

    def action_batch_earlier(self) -> None:
        self.show_step(self.step - 1)

    def action_batch_later(self) -> None:
        self.show_step(self.step + 1)

    def action_batch_step(self) -> None:
        from llmtui.tui.screens.dialogs import AskNumber

        def on_answer(step: int | None) -> None:
            if step is not None:
                self.show_step(step)

        last = f" of {self._last_step:,}" if self._last_step else ""
        self.app.push_screen(AskNumber(f"Show the batch of which step{last}?", lowest=1), on_answer)

    def action_batch_losses(self) -> None:
        self._with_losses = not self._with_losses
        self._shown = "", 0
        self.show_step(self.step)

    def action_batch_sort(self) -> None:
        self._by_loss = not self._by_loss
        self.show_notice("Rows by loss, highest first." if self._by_loss else "Rows in the order of the batch.")
        self._order_rows()

    def action_batch_surprise(self) -> None:
        rows, grid = self.query_one(BatchRows), self.query_one(TokenGrid)
        worst = rows.view.worst_tokens(rows.highlighted) if rows.view and rows.highlighted is not None else []
        if worst:
            self._surprise = (self._surprise + 1) % len(worst)
            grid.cursor = worst[self._surprise]
            grid.update()

    def action_batch_numbers(self) -> None:
        grid = self.query_one(TokenGrid)
        grid.numbers = not grid.numbers
        grid.update()
