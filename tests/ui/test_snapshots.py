"""Every screen looks as it did: its text at three sizes, help and X-ray as pictures, kept in tests/ui/snapshots.

`pytest tests/ui/test_snapshots.py --update-snapshots` writes them anew; `git diff` then shows what has changed.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest
from textual.pilot import Pilot

from benchmarks.screen_picture import screen_picture
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screen_table import SCREENS, STUDY
from tests.byte_models import run_with_checkpoints
from tests.ui.fake_runs import failed_run, finished_run, make_checkpoint
from tests.ui.fake_studies import fail, finish, make_study
from tests.ui.pilot import screen_text, until
from tests.ui.test_xray import open_xray

pytestmark = pytest.mark.heavy

SNAPSHOTS = Path(__file__).parent / "snapshots"

SIZES = ((80, 24), (120, 40), (200, 60))

VARYING = (
    (r"\d{8}-\d{6}-(\w+)-[0-9a-f]{4}", r"ID-\1"),  # of runs
    (r"/\S*/home/(data|config|state)\S*", r"HOME"),
    (r"\d+ cores? · \S+ GiB free", "MACHINE"),
    (r"\d{1,2} [A-Z][a-z]{2} \d\d:\d\d", "TIME"),
    (r"\d\d:\d\d:\d\d", "CLOCK"),
    (r"<?\b\d+(s|m|h|d)\b", "AGE"),
    (r"[\d.]+ (GB|MB|kB|GiB|MiB)\b", "SIZE"),
)
"""What differs from machine to machine and from day to day. Its place is kept, its length is not."""


def stable(text: str) -> str:
    """`text` without what varies, without the blanks and lines whose length follows from it, and without the keys in
    its last line, which change with every new screen and have tests of their own."""
    for pattern, name in VARYING:
        text = re.sub(pattern, name, text)
    lines = (re.sub(r"(\s)\s+", r"\1\1", re.sub(r"─{3,}", "───", line)).rstrip() for line in text.splitlines()[:-1])
    return "\n".join(lines) + "\n"


async def test_every_screen_looks_as_it_did(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("HOME", str(workspace.home))
    monkeypatch.setattr("llmtui.tui.screens.model.memory_for", lambda _device: (16 * 2**30, True))
    failed_run(workspace, "books").path.rename(workspace.runs / "20260101-000000-books-0000")  # surely the older one
    run = finished_run(workspace, "bard", 400)
    make_checkpoint(run, 400)
    run.log.write_text("".join(f"line {number}\n" for number in range(100)))
    app, changes = Workbench(workspace, open_run=run.id), list[str]()
    async with app.run_test(size=SIZES[0]) as pilot:
        for entry in (*SCREENS, STUDY):
            if entry is STUDY:
                make_study(workspace, trials=7, endings=(finish, finish, fail))
            app.action_show_screen(entry.name)
            for columns, rows in SIZES:
                await pilot.resize_terminal(columns, rows)
                path = SNAPSHOTS / f"{entry.name}-{columns}x{rows}.txt"
                text = await settled(pilot, columns, path.read_text() if path.exists() else "")
                if request.config.getoption("update_snapshots"):
                    path.write_text(text)
                elif not path.exists():
                    changes.append(f"{path.name} is missing")
                elif text != (before := path.read_text()):
                    changes += difflib.unified_diff(
                        before.splitlines(), text.splitlines(), path.name, "now", lineterm=""
                    )
    assert not changes, "\n".join((*changes, "", "--update-snapshots writes them anew"))


def stable_picture(app: Workbench) -> str:
    """The screen as SVG, with its colours, but without the figures of a model: they differ in their last digits from
    one processor to another, and bars with them."""
    picture = re.sub(r"<text [^>]*>[▏▎▍▌▋▊▉█ ]+</text>\n", "", screen_picture(app))
    return re.sub(r">[^<>\n]+</text>", lambda found: re.sub(r"\d", "0", found[0]), picture)


async def test_help_and_xray_look_as_they_did(workspace: Workspace, request: pytest.FixtureRequest) -> None:
    run = run_with_checkpoints(workspace, 10, 20)
    app = Workbench(workspace, open_run=run.id)
    pictures: dict[str, str] = {}
    async with app.run_test(size=(100, 40)) as pilot:
        await open_xray(pilot, run)
        await until(pilot, lambda: "token 1 of 12" in screen_text(app))
        await pilot.press("right", "right")
        await until(pilot, lambda: "token 3 of 12" in screen_text(app) and "id 256" in screen_text(app))
        pictures["x-ray-100x40"] = stable_picture(app)
        await pilot.press("7")
        await until(pilot, lambda: "log.txt is empty" in screen_text(app))
        await pilot.press("question_mark")
        await until(pilot, lambda: "esc closes" in screen_text(app))
        pictures["help-100x40"] = stable_picture(app)
    for name, picture in pictures.items():
        path = SNAPSHOTS / f"{name}.svg"
        if request.config.getoption("update_snapshots"):
            path.write_text(picture)
        changes = difflib.unified_diff(path.read_text().splitlines(), picture.splitlines(), path.name, "now", n=0)
        assert not (lines := list(changes)), "\n".join(lines)


async def settled(pilot: Pilot[None], columns: int, expected: str) -> str:
    """The screen once it is `expected`, or has not changed over five ticks of the workbench."""
    text, same = "", 0
    while same < 5:
        await pilot.pause(0.2)
        before, text = text, stable(screen_text(pilot.app))
        if text == expected:
            break
        same = same + 1 if text == before and pilot.app.size.width == columns else 0
    return text
