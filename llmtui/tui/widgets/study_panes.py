"""The panes of the screen of a study that are not charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from core.errors import LlmtuiError
from core.tune.importance import FieldImportance
from llmtui.tui.widgets.pane import Pane, ScrollPane
from llmtui.tui.widgets.table_pane import TablePane
from llmtui.view.lines import Line, bar, cell, wrap
from llmtui.view.sanitize import shown
from llmtui.view.study_snapshot import StudySnapshot
from llmtui.view.study_text import short_names


class TrialsTable(TablePane):
    """The trials of a study."""

    HELP: ClassVar[str] = (
        "The trials of the study, the best first: what each is doing, its result, and the values of the fields that "
        "differ. ★ marks the best one. The sentence below is about the highlighted row."
    )


class ImportancePane(ScrollPane):
    """How much each field matters."""

    HELP: ClassVar[str] = (
        "The share of each field in what makes trials good, by PED-ANOVA: how much the values of the better trials "
        "differ from those of all trials. It says nothing about which value is best; the results by field do."
    )

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._found: Sequence[FieldImportance] = ()
        self._text = ""
        self._error: LlmtuiError | None = None
        self._of = 0

    def show(self, found: Sequence[FieldImportance], of: int, text: str = "", error: LlmtuiError | None = None) -> None:
        """Show this importance, of so many results; or a sentence, or an error instead of it."""
        self._found, self._of, self._text, self._error = found, of, text, error
        self.update()

    def heading(self, width: int) -> Line:
        return [("importance", "title"), (f"  of {self._of} results" if self._found else "", "dim")]

    def content(self, width: int) -> list[Line]:
        if self._error is not None:
            texts = ((f"Cannot {self._error.doing}: {self._error.what}.", "bad"), (self._error.todo, ""))
            return [[(part, role)] for text, role in texts if text for part in wrap(shown(text, 400), width)]
        if not self._found:
            return [[(part, "dim")] for part in wrap(self._text, width)]
        names = short_names([each.key for each in self._found])
        cells = min(max(len(name) for name in names.values()), max(8, width // 3))
        return [
            [
                (cell(shown(names[each.key], 64), cells), ""),
                (f" {100 * each.share:3.0f} % ", "bold"),
                *bar(each.share, max(4, width - cells - 7)),
            ]
            for each in self._found
        ]


class StudyMessage(Pane):
    """Shown instead of a study: there is none, or it cannot be read."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._lines: list[tuple[str, str]] = []

    def show_problem(self, study: StudySnapshot | None, read: bool) -> None:
        """read: whether the studies have been read."""
        if study is not None and study.error is not None:
            problem = study.error
            texts = [(f"Cannot {problem.doing}: {problem.what}", "bad"), (problem.where, "dim"), (problem.todo, "")]
            self._lines = [(shown(text, 2000), role) for text, role in texts if text]
            self._lines.append(("S shows the other studies.", "dim"))
        elif read:
            self._lines = [
                ("There is no study yet.", "bold"),
                ("A study trains many variants of a recipe and finds the best values of its fields.", ""),
                ("s on Home starts one of the highlighted run's recipe, as does `llmtui tune RECIPE`.", ""),
            ]
        else:
            self._lines = [("reading …", "dim")]
        self.update()

    def heading(self, width: int) -> Line:
        return [("study", "title")]

    def lines(self, width: int, height: int) -> list[Line]:
        return [[(part, role)] for text, role in self._lines for part in wrap(text, width)]
