"""X-ray of a generated text: the six steps of each token, its branches, attention, logit lens, loss differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.timer import Timer

from core.checkpoints import readable_checkpoints
from core.plural import plural
from core.sample.protocol import Generate, encode
from llmtui.clients.reply_inspection import InspectedToken, LossDifference, ReplyInspection
from llmtui.tui.actions import bindings
from llmtui.tui.screens.picker import Choice, Picker
from llmtui.tui.screens.run_screen import RunScreen
from llmtui.tui.widgets.bars import FooterBar, HeaderBar
from llmtui.tui.widgets.figure_pane import FigureBar, FigurePane
from llmtui.view import xray_layers, xray_steps, xray_texts
from llmtui.view.lines import Line, wrap
from llmtui.view.sanitize import shown
from llmtui.view.xray_tokens import token_chip, token_strip

Mode = Literal["steps", "attention", "lens", "difference"]

_WAIT = 0.15
"""Seconds without a key after which the layers of a token are computed."""
_REDRAW = 0.125
"""Seconds between redraws while results arrive."""
_KEPT = 16
"""Texts whose X-ray, with its branches, is kept until the workbench ends."""


def open_xray(app: App[Any], screen: RunScreen, request: Generate, text: str) -> None:
    """Show the X-ray of `text`, which `request` generated, over the chat on `screen`."""
    snapshot = screen.snapshot
    if snapshot is not None and snapshot.run.recipe.model.objective == "masked":
        from llmtui.tui.screens.xray_masked import Denoising

        app.push_screen(Denoising(request))
        return
    inspections = screen.session.inspections
    key = encode(request)
    inspection = inspections.pop(key, None) or ReplyInspection(screen.session.inference_client, request, text)
    while len(inspections) >= _KEPT:
        del inspections[next(iter(inspections))]
    inspections[key] = inspection
    app.push_screen(Xray(inspection))


class Xray(RunScreen):
    """One text of a causal model."""

    SCOPE = "xray"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("xray")]
    CSS_PATH = "xray.tcss"

    def __init__(self, inspection: ReplyInspection) -> None:
        super().__init__()
        self._inspection = inspection
        self._mode: Mode = "steps"
        self._number = 1
        """Of the token shown, from 1."""
        self._step = 4
        self._missing = True
        """Whether the token shown has not arrived yet."""
        self._candidate = 0
        self._layer, self._head = 1, 1
        self._difference: LossDifference | None = None
        self._at = 0
        """The token under the cursor of the loss difference."""
        self._redraw: Timer | None = None
        self._wait: Timer | None = None

    def compose(self) -> ComposeResult:
        yield HeaderBar(id="top")
        yield FigureBar(id="text")
        yield FigureBar(id="steps")
        with Container(id="panes"):
            for step in range(1, len(xray_steps.STEPS) + 1):
                yield FigurePane(id=f"step-{step}")
            yield FigurePane(id="detail")
            yield FigurePane(id="maps")
        yield from self.compose_footer()

    def on_mount(self) -> None:
        self._load_branch()
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    # -- results --------------------------------------------------------------------------------------------------

    @property
    def _token(self) -> InspectedToken | None:
        tokens = self._inspection.branch.tokens
        return tokens[self._number - 1] if self._number <= len(tokens) else None

    def _load_branch(self) -> None:
        inspection = self._inspection
        inspection.error = ""
        self._missing = self._token is None
        self._select_candidate()
        self.run_worker(
            inspection.load_branch(inspection.current, self._changed),
            exit_on_error=True,
            group="branch",
            exclusive=True,
        )
        self._wait_for_context()

    def _changed(self) -> None:
        """Draw soon; results come faster than anyone can read."""
        if self._redraw is None and self.is_mounted:
            self._redraw = self.set_timer(_REDRAW, self._drawn_again)

    def _drawn_again(self) -> None:
        self._redraw = None
        if self._missing and self._token is not None:
            self._missing = False
            self._select_candidate()
            self._wait_for_context()
        self._draw()

    def _wait_for_context(self) -> None:
        """Compute outputs and layers of the token once no key was pressed for a moment; a computation for another
        token is cancelled."""
        if self._wait is not None:
            self._wait.stop()
        self._wait = self.set_timer(_WAIT, self._load_context)

    def _load_context(self) -> None:
        if self._token is None or self._inspection.error:
            return
        layers = self._layers if self._mode in ("attention", "lens") else 0
        self.run_worker(
            self._inspection.load_context(self._number, layers=layers, on_change=self._changed),
            exit_on_error=True,
            group="context",
            exclusive=True,
        )

    @property
    def _layers(self) -> int:
        return self.snapshot.run.recipe.model.n_layer if self.snapshot else 1

    @property
    def _heads(self) -> int:
        return self.snapshot.run.recipe.model.n_head if self.snapshot else 1

    def _select_candidate(self) -> None:
        token = self._token
        if token is not None:
            ids = [candidate.token.id for candidate in token.probabilities.candidates]
            self._candidate = ids.index(token.sampled.token.id)

    # -- drawing --------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        inspection, token = self._inspection, self._token
        tokens = inspection.branch.tokens
        header = self.query_one(HeaderBar)
        header.left = [("x-ray", "title"), ("  ", ""), (shown(Path(inspection.request.checkpoint).name), "accent")]
        if len(inspection.branches) > 1:
            header.left.append((f"  branch {inspection.current + 1} of {len(inspection.branches)}", "warn"))
        if inspection.differs:
            header.left.append(("  generates another text now than in the chat", "warn"))
        place = f"token {self._number:,} of {len(tokens):,}" + ("" if inspection.branch.complete else " …")
        header.right = [(place, "bold")] if token else []
        header.update()
        infos = [each.sampled.token for each in tokens]
        context = list(inspection.prompt.tokens) if inspection.prompt else []
        cursor = len(context) + self._number - 1
        self.query_one("#text", FigurePane).show([], lambda cells, _: [token_strip([*context, *infos], cursor, cells)])
        self.query_one("#steps", FigurePane).show([], lambda cells, _: [self._step_bar()])
        self._place_panes()
        self.query_one(FooterBar).update()

    def _step_bar(self) -> Line:
        if self._mode != "steps":
            titles = {"attention": "attention", "lens": "logit lens", "difference": "loss difference"}
            return [(titles[self._mode], "title"), ("  esc back to the six steps", "dim")]
        line: Line = []
        for number, name in enumerate(xray_steps.STEPS, 1):
            line += [(f"{number} {name}", "cursor" if number == self._step else "dim"), ("   ", "")]
        return line

    def _place_panes(self) -> None:
        """Show as many steps side by side as the terminal has room for, or the pane of the mode."""
        columns = 1 if self.size.width < 100 else 2 if self.size.width < 160 else 3
        rows = (6 // columns if columns > 1 else 1) if self.size.height >= 36 else 1
        panes = self.query_one("#panes")
        ready = self._token is not None
        steps = self._mode == "steps" and ready
        maps = self._mode == "attention" and ready and columns > 1
        panes.styles.grid_size_columns = columns if steps else 2 if maps else 1
        panes.styles.grid_size_rows = rows if steps else 1
        group = columns * rows
        first = (self._step - 1) // group * group + 1
        for step in range(1, len(xray_steps.STEPS) + 1):
            pane = self.query_one(f"#step-{step}", FigurePane)
            pane.display = steps and first <= step < first + group
            if pane.display:
                self._draw_step(pane, step, marked=group > 1 and step == self._step)
        detail = self.query_one("#detail", FigurePane)
        detail.display = not steps
        if detail.display:
            detail.show(self._detail_title(), self._draw_detail)
        self.query_one("#maps", FigurePane).display = maps
        if maps:
            self.query_one("#maps", FigurePane).show([("all heads, layer.head", "title")], self._draw_maps)

    def _draw_step(self, pane: FigurePane, step: int, *, marked: bool) -> None:
        token = self._token
        assert token is not None
        steps = xray_steps.TokenSteps(
            context=self._inspection.context_tokens(self._number),
            outputs=self._inspection.context(self._number).outputs,
            last=token.last,
            probabilities=token.probabilities,
            sampled=token.sampled,
            appended=token.appended,
            candidate=self._candidate,
            seed=self._inspection.request.sampling.seed,
        )
        mark = [("▸ ", "accent")] if marked else []
        title: Line = [*mark, (f"{step} {xray_steps.STEPS[step - 1]}", "accent" if marked else "title")]

        def draw(cells: int, rows: int) -> list[Line]:
            lines = xray_steps.step_lines(step, steps, cells, rows)
            tree = self._tree(cells) if step == len(xray_steps.STEPS) else []
            return [*lines, [], *([(text, role)] for _, text, role in tree)][:rows] if tree else lines

        pane.show(title, draw)

    def _tree(self, cells: int) -> list[tuple[int, str, str]]:
        """The branches as lines; none if there is only one."""
        inspection = self._inspection
        if len(inspection.branches) == 1:
            return []
        nodes = [
            (branch.parent, branch.start, "".join(each.appended.text for each in branch.tokens[branch.start - 1 :]))
            for branch in inspection.branches
        ]
        return xray_texts.tree_lines(nodes, inspection.current, cells)

    def _detail_title(self) -> Line:
        if self._mode == "attention":
            return [(f"layer {self._layer} of {self._layers}, head {self._head} of {self._heads}", "title")]
        return [({"lens": "layer × position", "difference": "loss of each token"}.get(self._mode, "x-ray"), "title")]

    def _draw_detail(self, cells: int, rows: int) -> list[Line]:
        inspection, token = self._inspection, self._token
        error = inspection.error
        if self._mode == "difference" and self._difference is not None:
            pair = self._difference
            names = pair.first.checkpoint.name, pair.second.checkpoint.name
            lines = xray_texts.difference_lines(
                pair.first.tokens, pair.first.nats, pair.second.nats, names, self._at, cells, rows
            )
            return [*([(part, "bad")] for part in wrap(shown(pair.error), cells)), *lines] if pair.error else lines
        if error:
            return [[(part, "bad")] for part in wrap(shown(error), cells)]
        if token is None:
            what = "The text has no token." if inspection.branch.complete else "Generating it again, step by step …"
            return [[(what, "dim")]]
        found, context = inspection.context(self._number), inspection.context_tokens(self._number)
        if self._mode == "lens":
            return xray_layers.lens_lines(found.lens, context, token.sampled.token, cells, rows)
        weights = found.attention.get((self._layer, self._head))
        return (
            xray_layers.attention_lines(weights, context, cells, rows)
            if weights
            else [[("reading the layers …", "dim")]]
        )

    def _draw_maps(self, cells: int, rows: int) -> list[Line]:
        heads = self._inspection.context(self._number).attention
        return xray_layers.head_maps(heads, (self._layer, self._head), cells, rows)

    # -- actions --------------------------------------------------------------------------------------------------

    def is_available(self, action: str) -> bool:
        if action in ("xray.take", "xray.down", "xray.next"):
            return self._token is not None and (
                self._mode == "steps" or (self._mode == "attention" and action != "xray.take")
            )
        if action == "xray.branches":
            return len(self._inspection.branches) > 1
        return True

    def _move(self, number: int) -> None:
        if self._mode == "difference" and self._difference is not None:
            self._at = max(0, min(self._at + number - self._number, len(self._difference.first.nats) - 1))
        else:
            number = max(1, min(number, len(self._inspection.branch.tokens)))
            if number == self._number:
                return
            self._number = number
            self._select_candidate()
            self._wait_for_context()
        self._draw()

    def action_xray_earlier(self) -> None:
        self._move(self._number - 1)

    def action_xray_later(self) -> None:
        self._move(self._number + 1)

    def action_xray_first(self) -> None:
        self._move(self._number - 10**9)

    def action_xray_last(self) -> None:
        self._move(self._number + 10**9)

    def action_xray_up(self) -> None:
        self._change(-1)

    def action_xray_down(self) -> None:
        self._change(1)

    def _change(self, by: int) -> None:
        """The step before or after; of attention the layer."""
        if self._mode == "attention":
            self._layer = max(1, min(self._layer + by, self._layers))
        elif self._mode == "steps":
            self._step = max(1, min(self._step + by, len(xray_steps.STEPS)))
        self._draw()

    def action_xray_previous(self) -> None:
        self._choose(-1)

    def action_xray_next(self) -> None:
        self._choose(1)

    def _choose(self, by: int) -> None:
        """The candidate above or below; of attention the head."""
        token = self._token
        if self._mode == "attention":
            self._head = max(1, min(self._head + by, self._heads))
        elif self._mode == "steps" and token is not None:
            self._candidate = max(0, min(self._candidate + by, len(token.probabilities.candidates) - 1))
            if self._step not in (4, 5):
                self._step = 4
        self._draw()

    def action_xray_take(self) -> None:
        token = self._token
        if token is None or self._mode != "steps":
            return
        candidate = token.probabilities.candidates[self._candidate].token
        if candidate.id == token.sampled.token.id:
            self.show_notice("That token was taken. j and k choose another one.")
            return
        new = self._inspection.take(self._number, candidate.id)
        self._load_branch()
        what = "The text goes on from" if new else "Back at the branch with"
        self.show_notice(f"{what} {token_chip(candidate)}; b shows the branches, kept until the workbench ends.")
        self._draw()

    def action_xray_branches(self) -> None:
        if len(self._inspection.branches) == 1:
            self.show_notice("There is one text so far: enter on another candidate makes a branch.")
            return
        choices = [Choice(str(index), text) for index, text, _ in self._tree(60)]

        def on_choice(value: str | None) -> None:
            if value is not None:
                self._inspection.current = int(value)
                self._number = max(1, min(self._number, len(self._inspection.branch.tokens)))
                self._load_branch()
                self._draw()

        self.app.push_screen(Picker("Branches", choices, current=str(self._inspection.current)), on_choice)

    def action_xray_attention(self) -> None:
        self._show_mode("attention")

    def action_xray_lens(self) -> None:
        self._show_mode("lens")

    def _show_mode(self, mode: Mode) -> None:
        self._mode = "steps" if self._mode == mode else mode
        self._wait_for_context()
        self._draw()

    def action_xray_difference(self) -> None:
        snapshot, request = self.snapshot, self._inspection.request
        if snapshot is None:
            return
        own = Path(request.checkpoint)
        others = [each for each in readable_checkpoints(snapshot.run.checkpoints) if each.path.name != own.name]
        if not others:
            self.show_notice("There is no other checkpoint to compare with yet.", "warn")
            return

        def on_choice(name: str | None) -> None:
            if name is None:
                return
            text = request.prompt + self._inspection.branch.text
            self._difference = LossDifference(
                self.session.inference_client, text, (own.parent / name, own), request.cleaning
            )
            self._mode, self._at = "difference", 0
            self.run_worker(
                self._difference.load(self._changed), exit_on_error=True, group="difference", exclusive=True
            )
            self._draw()

        choices = [Choice(each.path.name, each.path.name) for each in reversed(others)]
        title = f"Compare the loss of this text ({plural(len(self._inspection.branch.tokens), 'new token')}) with"
        self.app.push_screen(Picker(title, choices), on_choice)

    def action_app_back(self) -> None:
        if self._mode != "steps":
            self._mode = "steps"
            self._draw()
        else:
            self.dismiss()
