"""Data, tokens: a text as the tokens of two vocabularies, while it is typed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path, PurePath
from typing import Any, ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import TextArea

from core.errors import LlmtuiError
from core.plural import plural
from core.sample.protocol import TokenizeText, Tokens
from core.sample.token_protocol import MAX_TEXT_LENGTH, TokenizedText
from core.vocab.available import available_vocabularies, own_vocabulary
from core.vocab.protocol import VocabularyChoice
from llmtui.tui.actions import bindings
from llmtui.tui.run_watcher import RunsUpdated
from llmtui.tui.screens.data import DataScreen
from llmtui.tui.screens.picker import Choice, Picker
from llmtui.tui.widgets.bars import FooterBar
from llmtui.tui.widgets.token_grid import TokenGrid
from llmtui.view.sanitize import shown
from llmtui.view.token_grid import text_grid

EXAMPLE = 'def __init__(self, name="größe"):  # 12345 😀'
"""What is encoded until something is typed."""

_DEBOUNCE = 0.08
"""Seconds after the last key before the text is encoded."""

_TEXT_KEYS = (("esc", "out"), ("tab", "to the tokens"), ("^p", "commands"), ("f1", "help"))


class TokenInput(TextArea):
    """The text to encode."""

    def __init__(self, text: str, **kwargs: Any) -> None:
        super().__init__(text, show_line_numbers=False, soft_wrap=True, placeholder="type or paste a text", **kwargs)
        self.cursor_blink = False


class VocabularyGrid(TokenGrid):
    """The tokens of the text under one vocabulary."""

    vocabulary: VocabularyChoice | None = None

    def show_text(self, text: TokenizedText) -> None:
        """Show an encoded text, with the cursor at its end, where it is typed."""
        assert self.vocabulary is not None
        self.title = [[(shown(self.vocabulary.name, 60), "title")], [(plural(len(text.ids), "token"), "")]]
        if text.ids:
            self.title.append([(f"{text.bytes / len(text.ids):.2f} bytes per token", "dim")])
        self.title.append([(f"{text.entries:,} ids", "dim")])
        self.hint = "The text is empty."
        self.show_tokens(text_grid(text), cursor=len(text.ids) - 1)

    def show_problem(self, text: str) -> None:
        """Show why there are no tokens."""
        self.title = [[(shown(self.vocabulary.name, 60) if self.vocabulary else "no vocabulary", "title")]]
        self.hint = text
        self.show_tokens(())


class TokensView(DataScreen):
    """The text above, the tokens of both vocabularies below it; beside each other in wide terminals."""

    SCOPE = "tokens"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("tokens")]
    CSS_PATH: ClassVar[list[str | PurePath]] = ["data.tcss", "data_tokens.tcss"]
    AUTO_FOCUS: ClassVar[str] = "#first"  # not the text, where the keys of the screens and views are letters

    def __init__(self) -> None:
        super().__init__()
        self._listed: list[VocabularyChoice] = []
        """The vocabularies on this machine."""
        self._chosen: dict[str, VocabularyChoice] = {}
        """By id of a grid, what the user chose for it."""

    def compose_view(self) -> Iterable[Widget]:
        yield TokenInput(EXAMPLE, id="text")
        with Container(id="grids"):
            yield VocabularyGrid(id="first")
            yield VocabularyGrid(id="second")

    def on_mount(self) -> None:
        self.query_one(TokenInput).select_all()  # so that typing replaces the example

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._show_keys()
        self.run_worker(self._list_vocabularies(), exclusive=True, group="vocabularies")

    async def _list_vocabularies(self) -> None:
        self._listed = await asyncio.to_thread(lambda: list(available_vocabularies(self.session.workspace)))
        self._choose_vocabularies()

    @property
    def _available(self) -> list[VocabularyChoice]:
        """The run's own, then the others on this machine."""
        own = self._own()
        return [*([own] if own else []), *(c for c in self._listed if own is None or c.file != own.file or not c.file)]

    @on(RunsUpdated)
    def _choose_vocabularies(self) -> None:
        """Give each grid its vocabulary: the chosen one, else the run's own and, beside it, a published one."""
        first = next(iter(self._available), None)
        others = sorted(self._available[1:], key=lambda c: (c.name != "gpt2", bool(c.file), c.name == "bytes"))
        defaults = {"first": first, "second": next(iter(others), first)}
        changed = False
        for grid in self.query(VocabularyGrid):
            choice = self._chosen.get(grid.id or "") or defaults[grid.id or ""]
            if choice != grid.vocabulary:
                grid.vocabulary, changed = choice, True
                grid.show_problem("starting the process that encodes …")
        if changed:
            self._encode_soon()

    def _own(self) -> VocabularyChoice | None:
        """The vocabulary of the selected run."""
        snapshot = self.snapshot
        made = snapshot.artifact("tokenize") if snapshot else ""
        if not snapshot or not made:
            return None
        facts = snapshot.summary.stages["tokenize"].facts
        kind, size = facts.get("vocabulary", ""), facts.get("vocabulary_size", 0)
        return own_vocabulary(Path(made), f"{snapshot.run.name} · {kind} {size:,}" if size else snapshot.run.name)

    # -- encoding -------------------------------------------------------------------------------------------------

    @on(TextArea.Changed)
    def _encode_soon(self) -> None:
        self.run_worker(self._encode(), exclusive=True, group="encode", exit_on_error=True)

    async def _encode(self) -> None:
        await asyncio.sleep(_DEBOUNCE)
        text = self.query_one(TokenInput).text
        if len(text) > MAX_TEXT_LENGTH:
            self.show_notice(f"The first {MAX_TEXT_LENGTH:,} characters are encoded.")
        await asyncio.gather(*(self._encode_for(grid, text[:MAX_TEXT_LENGTH]) for grid in self.query(VocabularyGrid)))

    async def _encode_for(self, grid: VocabularyGrid, text: str) -> None:
        if grid.vocabulary is None:
            grid.show_problem("There is no vocabulary yet: a run makes one; llmtui vocab import adds published ones.")
            return
        try:
            request = TokenizeText(id=0, vocabulary=grid.vocabulary, text=text.encode("utf-8", "replace").decode())
            async with aclosing(self.session.inference_client.stream(request)) as replies:
                async for reply in replies:
                    if isinstance(reply, Tokens) and isinstance(reply.result, TokenizedText):
                        grid.show_text(reply.result)
        except LlmtuiError as error:
            grid.show_problem(shown(f"It cannot be encoded: {error.what}. {error.todo}"))

    # -- focus and keys -------------------------------------------------------------------------------------------

    def on_descendant_focus(self) -> None:
        self._show_keys()

    def _show_keys(self) -> None:
        footer = self.query_one(FooterBar)
        footer.override = list(_TEXT_KEYS) if isinstance(self.focused, TokenInput) else []
        footer.update()

    def action_tokens_write(self) -> None:
        self.query_one(TokenInput).focus()

    def action_tokens_vocabulary(self) -> None:
        grid = self.focused if isinstance(self.focused, VocabularyGrid) else self.query_one("#second", VocabularyGrid)
        choices = [Choice(str(i), shown(c.name, 60), _about(c)) for i, c in enumerate(self._available)]
        current = next((str(i) for i, c in enumerate(self._available) if c == grid.vocabulary), "")

        def on_choice(value: str | None) -> None:
            if value is not None:
                self._chosen[grid.id or ""] = self._available[int(value)]
                self._choose_vocabularies()

        self.app.push_screen(Picker("Vocabularies on this machine", choices, current=current), on_choice)

    def action_app_back(self) -> None:
        if isinstance(self.focused, TokenInput):
            self.query_one("#first").focus()
        else:
            super().action_app_back()


def _about(choice: VocabularyChoice) -> str:
    return "of token shards" if choice.file else "bytes alone" if choice.name == "bytes" else "published"
