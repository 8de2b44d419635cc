"""Data, first view: the artifacts of the data stages on this machine, and deleting those that no run uses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.containers import Container
from textual.widget import Widget

from core.errors import LlmtuiError
from core.jobs.browse_protocol import DocumentPage, ReadDocument, Side
from core.plural import plural
from core.runs.artifacts import StoredArtifact, list_artifacts, remove_artifact, users_of
from llmtui.tui.actions import bindings
from llmtui.tui.run_watcher import RunsUpdated
from llmtui.tui.screens.data import DataScreen
from llmtui.tui.screens.data_documents import Documents
from llmtui.tui.screens.workbench_screen import show_error, show_screen
from llmtui.tui.widgets.document_text import DocumentText
from llmtui.tui.widgets.list_pane import ListPane
from llmtui.tui.widgets.pane import ScrollPane
from llmtui.view import artifact_text, units
from llmtui.view.lines import Line, cell, clip, hanging, width, wrap
from llmtui.view.sanitize import shown, shown_path

_STATES = {
    "complete": ("✓", "good"),
    "being made": ("●", "accent"),
    "unfinished": ("‖", "warn"),
    "damaged": ("✗", "bad"),
}


class ArtifactList(ListPane[StoredArtifact]):
    """One line for each artifact, those of one corpus together."""

    HELP: ClassVar[str] = (
        "Everything that is stored on this machine, by corpus: downloads, cleaned documents, tokens. One artifact "
        "is shared by all runs that need the same one."
    )
    read = False
    """Whether the disk has been read."""

    def heading(self, cells: int) -> Line:
        total = units.size(sum(artifact.bytes for artifact in self.items))
        counts = f"  {plural(len(self.items), 'artifact')}, {total}" if self.items else ""
        return [("corpora and artifacts", "title"), (counts, "dim")]

    def placeholder(self, cells: int) -> list[Line]:
        if not self.read:
            return [[("reading the disk …", "dim")]]
        text = (
            "Nothing has been downloaded, cleaned or tokenized on this machine yet. A run does it before it trains:"
            " 1 shows the runs, n there starts one, d the demo. `llmtui data prepare SOURCE` does it without training."
        )
        return [[(part, "")] for part in wrap(text, min(cells, 76))]

    def key(self, item: StoredArtifact) -> str:
        return item.path

    def row(self, item: StoredArtifact, cells: int) -> Line:
        glyph, role = _STATES[item.state]
        names = max(len(artifact.name) for artifact in self.items)
        line: Line = [
            (f"{glyph} ", role),
            (cell(shown(item.name, 64), min(names, max(10, cells // 4))), "bold"),
            (f"  {artifact_text.STAGES[item.stage]:<7}", ""),
            (f"  {units.size(item.bytes):>7}", ""),
        ]
        content = artifact_text.content(item)
        if item.state != "complete":
            return clip([*line, (f"  {content}", role)], cells)
        made = units.clock(item.made_at)
        for text, role in (
            (f"  {content:<18}", ""),
            (f"  {made:<12}", "dim"),
            (f"  {artifact_text.users(item)}", "" if item.runs else "dim"),
            (f"  {artifact_text.vocabulary(item)}", "dim"),
        ):
            if width(line) + len(text) > cells:
                break
            line.append((text, role))
        return clip(line, cells)


class ArtifactDetails(ScrollPane):
    """Everything that is known about one artifact."""

    HELP: ClassVar[str] = (
        "What is known about the highlighted artifact: where it comes from, what made it, which runs use it."
    )
    artifact: StoredArtifact | None = None
    sources: tuple[StoredArtifact, ...] = ()
    """The artifacts it was made from, of those on this machine."""

    def heading(self, width: int) -> Line:
        if self.artifact is None:
            return [("artifact", "title")]
        word = artifact_text.STAGES[self.artifact.stage]
        return [(f"{shown(self.artifact.name, 64)}, {word}", "title")]

    def content(self, width: int) -> list[Line]:
        artifact = self.artifact
        if artifact is None:
            return []
        facts = (
            shown(units.facts(artifact.facts), 400) if artifact.state == "complete" else artifact_text.content(artifact)
        )
        rows = [("holds", facts), ("runs", artifact_text.users(artifact))]
        rows += [("made from", f"{source.name}, {artifact_text.STAGES[source.stage]}") for source in self.sources]
        if artifact.made_at:
            rows.append(("made", units.clock(artifact.made_at)))
        rows.append(("path", shown_path(artifact.path)))
        settings = artifact_text.settings(artifact)
        return [*_rows(rows, width), *([[]] if settings else []), *_rows(settings, width)]


def _rows(rows: list[tuple[str, str]], width: int) -> list[Line]:
    """Names and values in two columns, long values in several lines."""
    names = max((len(name) for name, _ in rows), default=0) + 2
    return [line for name, value in rows for line in hanging([(value, "")], (name.ljust(names), "dim"), width)]


class Corpora(DataScreen):
    """The list above, the highlighted artifact below; beside each other in wide terminals. In tall ones, the first of
    its documents."""

    SCOPE = "data"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("data")]
    CSS_PATH: ClassVar[list[str | PurePath]] = ["data.tcss", "data_corpora.tcss"]
    AUTO_FOCUS: ClassVar[str] = "ArtifactList"

    def __init__(self) -> None:
        super().__init__()
        self._read_for: object = None
        """What the runs used when the disk was last read."""
        self._first_of = ""
        """Directory of the artifact whose first document is shown."""

    def compose_view(self) -> Iterable[Widget]:
        with Container(id="upper"):
            yield ArtifactList(id="artifacts")
            yield ArtifactDetails(id="artifact")
        yield DocumentText(id="first")

    @property
    def artifact(self) -> StoredArtifact | None:
        """The highlighted artifact."""
        return self.query_one(ArtifactList).highlighted

    def subject(self) -> Line:
        return []

    def is_available(self, action: str) -> bool:
        if action == "data.open":
            return self.artifact is not None
        if action == "data.delete":
            return self.artifact is not None and not self.artifact.runs
        return super().is_available(action)

    def on_screen_resume(self) -> None:
        self._read_disk()

    @on(RunsUpdated)
    def _read_disk_if_runs_changed(self) -> None:
        if self.is_current and self._read_for != self._used():
            self._read_disk()

    def _used(self) -> object:
        """Changes when a run has begun to use another artifact."""
        return [
            (snapshot.run.id, snapshot.state.is_active, [s.artifact for s in snapshot.summary.stages.values()])
            for snapshot in self.session.watcher.snapshots
        ]

    def _read_disk(self) -> None:
        self._read_for = self._used()
        self.run_latest(self._read, "artifacts")

    async def _read(self) -> None:
        users = users_of((snapshot.run.name, snapshot.summary) for snapshot in self.session.watcher.snapshots)
        found = await asyncio.to_thread(list_artifacts, self.session.workspace, users)
        artifacts = self.query_one(ArtifactList)
        artifacts.read = True
        artifacts.show_items(found)
        self._show_details()

    @on(ArtifactList.Highlighted)
    def _show_details(self) -> None:
        details, artifact = self.query_one(ArtifactDetails), self.artifact
        if (artifact and artifact.path) != (details.artifact and details.artifact.path):
            details.reset_scroll()
        details.sources = self._sources(artifact) if artifact else ()
        details.artifact = artifact
        self.set_class(artifact is None, "-empty")
        details.update()
        self.show_header()
        self.run_latest(self._show_first_document, "first document")

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_details)

    async def _show_first_document(self) -> None:
        """Read the beginning of the highlighted artifact, if there is a place for it."""
        text, artifact = self.query_one(DocumentText), self.artifact
        if not text.display:
            return
        source = self._with_documents(artifact) if artifact else []
        if not source:
            text.show_message("No documents of it are on this machine.")
            return
        if text.page is not None and self._first_of == source[0].path:
            return
        self._first_of = source[0].path
        side: Side = "documents" if source[0].stage == "download" else "train"
        text.title = [(artifact_text.STAGES[source[0].stage], "title")]
        try:
            page = await self.ask(ReadDocument(artifact=source[0].path, side=side))
        except LlmtuiError as error:
            text.show_message(shown(error.sentence(), lines=True))
            return
        if isinstance(page, DocumentPage):
            text.show_page(page)

    def _with_documents(self, artifact: StoredArtifact) -> list[StoredArtifact]:
        """`artifact` and its sources, as far as they are complete and hold documents."""
        found = (artifact, *self._sources(artifact))
        return [a for a in found if a.state == "complete" and a.stage != "tokenize"]

    def _sources(self, artifact: StoredArtifact) -> tuple[StoredArtifact, ...]:
        """The artifacts that `artifact` was made from, if they are still here, the first stage last."""
        sources = [
            other
            for other in self.query_one(ArtifactList).items
            if Path(other.path).name.endswith(artifact.inputs.get(other.stage, "/"))
        ]
        return tuple(found for source in sources for found in (source, *self._sources(source)))

    # -- actions --------------------------------------------------------------------------------------------------

    def action_data_open(self) -> None:
        artifact = self.artifact
        if artifact is None:
            return
        whole = self._with_documents(artifact)
        if not whole:
            why = artifact_text.content(artifact) if artifact.state != "complete" else "its documents are not here"
            self.show_notice(f"There are no documents to show: {why}.", "warn")
            return
        documents = self.app.get_screen("documents")
        assert isinstance(documents, Documents)
        documents.open({a.stage: a.path for a in whole})
        show_screen(self.app, "documents")

    def action_data_delete(self) -> None:
        artifact = self.artifact
        if artifact is None:
            self.show_notice("There is no artifact to delete.", "warn")
            return
        if artifact.runs:
            self.show_notice(f"It is {artifact_text.users(artifact)}: delete its runs first.", "warn")
            return
        from llmtui.tui.screens.dialogs import Confirm

        what, size = f"{artifact.name}, {artifact_text.STAGES[artifact.stage]}", units.size(artifact.bytes)

        async def on_answer(yes: bool | None) -> None:
            if not yes:
                return
            try:
                await asyncio.to_thread(remove_artifact, self.session.workspace, artifact)
            except LlmtuiError as error:
                show_error(self.app, error)
            else:
                self.show_notice(f"{what} is deleted: {size} are free again.")
            self._read_disk()

        question = (
            f"Delete {what} ({units.size(artifact.bytes)})? No run uses it. It can be made again from its source."
        )
        self.app.push_screen(Confirm(question, yes="delete it", no="keep it"), on_answer)
