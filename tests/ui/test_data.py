"""The Data screen shows what the data stages made, and says what is missing and what to press."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.events import StageFinished
from core.jobs.browse_protocol import DocumentPage, Position
from core.jobs.prepare import prepare
from core.recipe.file import load
from core.runs.directory import Run
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.widgets.bars import Notice
from llmtui.tui.widgets.document_text import DocumentText
from tests.core.stages import return_value
from tests.ui.fake_runs import FakeWorker, make_run
from tests.ui.pilot import screen_text, until
from tests.ui.test_screens import assert_whole

HOSTILE = "\x1b[31mred\x1b]52;c;aGk=\x07 \u202egnihtyna"


@pytest.fixture
def run(workspace: Workspace, tmp_path: Path) -> Run:
    """A run whose data stages are done: 24 documents, one with control characters, and one twice."""
    folder = tmp_path / "books"
    folder.mkdir()
    for number in range(22):
        (folder / f"{number:02d}.txt").write_text(f"chapter {number}\n" + f"a line of number {number}\n" * 20)
    (folder / "22.txt").write_text(f"an odd one: {HOSTILE}\n" + "and it goes on \n" * 20)
    (folder / "23.txt").write_text((folder / "00.txt").read_text())
    recipe = load(base={"name": "books", "source": {"corpus": str(folder)}}, overrides=["tokenize.size=300"])
    prepared = return_value(prepare(recipe, workspace))
    run = Run.create(workspace, recipe)
    documents = next((workspace.artifacts / "documents").glob("books-*[0-9a-f]"))
    FakeWorker(run).write_events(
        StageFinished(stage="download", artifact=str(documents), facts={"documents": 24}),
        StageFinished(stage="preprocess", artifact=str(prepared.clean.path), facts={}),
        StageFinished(stage="tokenize", artifact=str(prepared.tokens.path), facts={}),
    )
    return run


@pytest.mark.heavy
@pytest.mark.parametrize("size", [(60, 16), (80, 24), (200, 60)])
async def test_corpora_documents_and_cleaning_of_a_run(workspace: Workspace, run: Run, size: tuple[int, int]) -> None:
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=size) as pilot:

        async def shows(*texts: str) -> None:
            await until(pilot, lambda: all(text in screen_text(app) for text in texts))
            if not app.screen.query_one(Notice).display:
                assert_whole(app)
            assert not {"\x1b", "\x07", "\u202e"} & set(screen_text(app))

        await pilot.press("2")
        await shows("3 artifacts", "books  raw", "books  cleaned", "books  tokens", "24 documents")
        await pilot.press("enter")
        await shows("raw", "document 1 of 24", "00.txt", "chapter 0")
        await pilot.press("right")
        await shows("document 2 of 24", "chapter 1")
        await pilot.press("/", *"odd one", "enter")
        await shows("document 23 of 24", "␛[31mred␛]52;c;aGk=␇ <U+202E>gnihtyna")
        await pilot.press("#", "3", "enter")
        await shows("document 3 of 24", "chapter 2")
        await pilot.press("#", "9", "9", "enter")
        await shows("The documents have the numbers 1 to 24.")
        await pilot.press("s")
        await shows("cleaned, training", "document 1 of 2", "chapter")
        await pilot.press("v")
        await shows("cleaned, validation", "document 1 of")
        await pilot.press("l")
        await shows("24 → 23 documents", "control_characters", "1 changed", "document 23 of 24", "[-␛-]")
        await pilot.press("G")
        await shows("It depends on other documents")
        await pilot.press("1", "2")
        await shows("24 → 23 documents")


def rows(page: DocumentPage, query: str = "") -> list[str]:
    text = DocumentText()
    text.page, text.query_text = page, query
    return ["".join(f"<{part}>" if role == "cursor" else part for part, role in line) for line in text.content(60)]


def page(text: str, position: Position, characters: int, last_part: bool, **rest: tuple[int, int]) -> DocumentPage:
    return DocumentPage(
        position=position, documents=1, name="a", text=text, characters=characters, last_part=last_part, **rest
    )


def test_a_page_of_a_long_document_says_where_it_is_and_what_shows_the_rest() -> None:
    assert rows(page("whole", Position(), 5, True)) == ["whole"]
    first = page("some", Position(), 9, True)
    assert rows(first)[-1] == "characters 1 to 4 of 9; ] shows what follows"
    last = page("end", Position(0, 2, 6), 9, True)
    assert rows(last)[-1] == "characters 7 to 9 of 9 in part 3; [ shows what comes before"


def test_what_was_found_is_marked_among_the_other_occurrences_even_if_it_overlaps_one() -> None:
    assert rows(page("Tom and tom", Position(), 11, True, match=(8, 11)), "tom") == ["Tom and <tom>"]
    assert rows(page("aaa", Position(), 3, True, match=(1, 3)), "aa") == ["a<aa>"]
    assert rows(page("\x1b[2J", Position(), 4, True)) == ["␛[2J"]


@pytest.mark.heavy
async def test_the_data_screen_says_what_is_missing_and_what_to_press(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: "Nothing has been downloaded" in screen_text(app))
        assert "─ artifact" not in screen_text(app)
        for key in ("d", "l"):
            await pilot.press(key)
            await until(pilot, lambda: "No run is selected: 1 shows the runs" in screen_text(app))
        run = make_run(workspace, "empty")
        app.session.watcher.wake()
        await until(pilot, lambda: "empty has no documents yet: download is its first stage" in screen_text(app))
        await pilot.press("d")
        await until(pilot, lambda: "empty has no cleaned documents yet: preprocess comes after" in screen_text(app))
        FakeWorker(run).write_events(
            StageFinished(stage="preprocess", artifact=str(workspace.artifacts / "gone-0"), facts={})
        )
        app.session.watcher.wake()
        await until(pilot, lambda: "they are no longer on this machine" in screen_text(app))


@pytest.mark.heavy
async def test_only_an_artifact_that_no_run_uses_is_deleted(workspace: Workspace, run: Run) -> None:
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: "3 artifacts" in screen_text(app))
        await pilot.press("D")
        await until(pilot, lambda: "used by books: delete its runs first" in screen_text(app))
        run.remove()
        app.session.watcher.wake()
        await until(pilot, lambda: "used by no run" in screen_text(app))
        await pilot.press("D")
        await until(pilot, lambda: "Delete books, raw" in screen_text(app))
        await pilot.press("y")
        await until(pilot, lambda: "2 artifacts" in screen_text(app))
        assert not list((workspace.artifacts / "documents").glob("books-*"))
