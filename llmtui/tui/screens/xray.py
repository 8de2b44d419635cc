"""X-ray of a generated text: the six steps of each token, its branches, attention, logit lens, loss differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.timer import Timer

from core.checkpoints import step_of
from core.sample.protocol import Generate, encode
from llmtui.clients.reply_inspection import ReplyInspection
from llmtui.tui.actions import bindings, key_line
from llmtui.tui.screens.run_screen import RunScreen
from llmtui.tui.screens.xray_actions import XrayActions
from llmtui.tui.widgets.bars import FooterBar, HeaderBar
from llmtui.tui.widgets.figure_pane import FigureBar, FigurePane
from llmtui.view import xray_layers, xray_steps, xray_texts
from llmtui.view.lines import Line, wrap
from llmtui.view.sanitize import shown
from llmtui.view.xray_tokens import token_strip

_WAIT = 0.15
"""Seconds without a key after which the layers of a token are computed."""
_REDRAW = 0.125
"""Seconds between redraws while results arrive."""
_KEPT = 16
"""Texts whose X-ray, with its branches, is kept until the workbench ends."""


def open_xray(app: App[Any], screen: RunScreen, request: Generate, text: str) -> None:
    """Show the X-ray of `text`, which `request` generated, over the chat on `screen`."""
    if request.denoising_states:  # a masked model
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


class Xray(XrayActions):
    """One text of a causal model."""

    SCOPE = "xray"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("xray")]
    CSS_PATH = "xray.tcss"

    def __init__(self, inspection: ReplyInspection) -> None:
        super().__init__(inspection)
        self._missing = True
        """Whether the token shown has not arrived yet."""
        self._timer: Timer | None = None
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
        self.load_branch()
        self.redraw()

    def on_resize(self) -> None:
        self.redraw()

    # -- results --------------------------------------------------------------------------------------------------

    def load_branch(self) -> None:
        inspection = self.inspection
        inspection.error = ""
        self._missing = self.token is None
        self.select_candidate()
        self.run_worker(
            inspection.load_branch(inspection.current, self.changed),
            exit_on_error=True,
            group="branch",
            exclusive=True,
        )
        self.load_context()

    def changed(self) -> None:
        if self._timer is None and self.is_mounted:  # results come faster than anyone can read
            self._timer = self.set_timer(_REDRAW, self._drawn_again)

    def _drawn_again(self) -> None:
        self._timer = None
        if self._missing and self.token is not None:
            self._missing = False
            self.select_candidate()
            self.load_context()
        if self.inspection.error and self.token is not None:  # else the pane shows it
            self.show_notice(self.inspection.error, "bad")
        self.redraw()

    def load_context(self) -> None:
        """Compute outputs and layers of the token once no key was pressed for a moment; a computation for another
        token is cancelled."""
        if self._wait is not None:
            self._wait.stop()
        self._wait = self.set_timer(_WAIT, self._start_context)

    def _start_context(self) -> None:
        if self.token is None or self.inspection.error:
            return
        layers = self.layer_count if self.mode in ("attention", "lens") else 0
        self.run_worker(
            self.inspection.load_context(self.number, layers=layers, on_change=self.changed),
            exit_on_error=True,
            group="context",
            exclusive=True,
        )

    # -- drawing --------------------------------------------------------------------------------------------------

    def redraw(self) -> None:
        if not self.is_mounted:
            return
        inspection, token = self.inspection, self.token
        tokens = inspection.branch.tokens
        header = self.query_one(HeaderBar)
        header.left = [("x-ray", "title"), ("  ", ""), (_step_text(Path(inspection.request.checkpoint)), "accent")]
        if len(inspection.branches) > 1:
            header.left.append((f"  branch {inspection.current + 1} of {len(inspection.branches)}", "warn"))
        if inspection.differs:
            header.left.append(("  generates another text now than in the chat", "warn"))
        place = f"token {self.number:,} of {len(tokens):,}" + ("" if inspection.branch.complete else " …")
        header.right = [(place, "bold")] if token else []
        header.update()
        infos = [each.sampled.token for each in tokens]
        context = list(inspection.prompt.tokens) if inspection.prompt else []
        cursor = len(context) + self.number - 1
        self.query_one("#text", FigurePane).show([], lambda cells, _: [token_strip([*context, *infos], cursor, cells)])
        self.query_one("#steps", FigurePane).show([], lambda cells, _: [self._step_bar()])
        self._place_panes()
        footer = self.query_one(FooterBar)
        footer.override = self._key_line()
        footer.update()

    def _step_bar(self) -> Line:
        if self.mode != "steps":
            titles = {"attention": "attention", "lens": "logit lens", "difference": "loss difference"}
            return [(titles[self.mode], "title"), ("  esc back to the six steps", "dim")]
        line: Line = []
        for number, name in enumerate(xray_steps.STEPS, 1):
            label = f"{number} {name}" if self.size.width >= 76 or number == self.step else f"{number}"
            line += [(label, "cursor" if number == self.step else "dim"), ("   ", "")]
        return line

    def _key_line(self) -> list[tuple[str, str]]:
        """The keys of the mode, the ones that are needed most first."""
        modes = [("xray.attention", "attention"), ("xray.lens", "lens"), ("xray.difference", "difference")]
        entries = [("xray.earlier xray.later", "token"), ("app.back", "back"), *modes]
        if self.mode == "attention":
            entries[1:1] = [("xray.up xray.down", "layer"), ("xray.next xray.previous", "head")]
        elif self.mode == "steps":
            entries[1:1] = [("xray.up xray.down", "step"), ("xray.next xray.previous", "pick"), ("xray.take", "take")]
        if len(self.inspection.branches) > 1:
            entries.insert(-3, ("xray.branches", "branches"))
        return key_line([*entries, ("app.palette", "commands"), ("app.help", "help")], self.session.keymap)

    def _place_panes(self) -> None:
        """Show as many steps side by side as the terminal has room for, or the pane of the mode."""
        columns = 1 if self.size.width < 100 else 2 if self.size.width < 160 else 3
        rows = (6 // columns if columns > 1 else 1) if self.size.height >= 36 else 1
        panes = self.query_one("#panes")
        ready = self.token is not None
        steps = self.mode == "steps" and ready
        maps = self.mode == "attention" and ready and columns > 1
        panes.styles.grid_size_columns = columns if steps else 2 if maps else 1
        panes.styles.grid_size_rows = rows if steps else 1
        group = columns * rows
        first = (self.step - 1) // group * group + 1
        for step in range(1, len(xray_steps.STEPS) + 1):
            pane = self.query_one(f"#step-{step}", FigurePane)
            pane.display = steps and first <= step < first + group
            if pane.display:
                self._draw_step(pane, step, marked=group > 1 and step == self.step)
        detail = self.query_one("#detail", FigurePane)
        detail.display = not steps
        if detail.display:
            detail.show(self._detail_title(), self._draw_detail)
        self.query_one("#maps", FigurePane).display = maps
        if maps:
            self.query_one("#maps", FigurePane).show([("all heads, layer.head", "title")], self._draw_maps)

    def _draw_step(self, pane: FigurePane, step: int, *, marked: bool) -> None:
        token = self.token
        assert token is not None
        steps = xray_steps.TokenSteps(
            context=self.inspection.context_tokens(self.number),
            outputs=self.inspection.context(self.number).outputs,
            last=token.last,
            probabilities=token.probabilities,
            sampled=token.sampled,
            appended=token.appended,
            candidate=self.candidate,
            seed=self.inspection.request.sampling.seed,
        )
        mark = [("▸ ", "accent")] if marked else []
        title: Line = [*mark, (f"{step} {xray_steps.STEPS[step - 1]}", "accent" if marked else "title")]

        def draw(cells: int, rows: int) -> list[Line]:
            lines = xray_steps.step_lines(step, steps, cells, rows)
            tree = self.branch_tree(cells) if step == len(xray_steps.STEPS) else []
            return [*lines, [], *([(text, role)] for _, text, role in tree)][:rows] if tree else lines

        pane.show(title, draw)

    def _detail_title(self) -> Line:
        if self.mode == "attention":
            return [
                (
                    f"layer {self.layer_number} of {self.layer_count}, head {self.head_number} of {self.head_count}",
                    "title",
                )
            ]
        return [({"lens": "layer × position", "difference": "loss of each token"}.get(self.mode, "x-ray"), "title")]

    def _draw_detail(self, cells: int, rows: int) -> list[Line]:
        inspection, token = self.inspection, self.token
        error = inspection.error
        if self.mode == "difference" and self.difference is not None:
            pair = self.difference
            names = _step_text(pair.first.checkpoint), _step_text(pair.second.checkpoint)
            lines = xray_texts.difference_lines(
                pair.first.tokens, pair.first.nats, pair.second.nats, names, self.at, cells, rows
            )
            return [*([(part, "bad")] for part in wrap(shown(pair.error), cells)), *lines] if pair.error else lines
        if error:
            return [[(part, "bad")] for part in wrap(shown(error), cells)]
        if token is None:
            what = "The text has no token." if inspection.branch.complete else "Generating it again, step by step …"
            return [[(what, "dim")]]
        found, context = inspection.context(self.number), inspection.context_tokens(self.number)
        if self.mode == "lens":
            return xray_layers.lens_lines(found.lens, context, token.sampled.token, cells, rows)
        weights = found.attention.get((self.layer_number, self.head_number))
        return (
            xray_layers.attention_lines(weights, context, cells, rows)
            if weights
            else [[("reading the layers …", "dim")]]
        )

    def _draw_maps(self, cells: int, rows: int) -> list[Line]:
        heads = self.inspection.context(self.number).attention
        return xray_layers.head_maps(heads, (self.layer_number, self.head_number), cells, rows)


def _step_text(checkpoint: Path) -> str:
    """A checkpoint as the chat names it."""
    return f"step {step_of(checkpoint):,}"
