"""ASCII mode: nothing that reaches the terminal is outside ASCII, and nothing moves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

import llmtui
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.terminal import ascii_only
from llmtui.view.ascii_text import to_ascii
from llmtui.view.sanitize import DANGEROUS
from tests.ui.fake_runs import finished_run
from tests.ui.pilot import CountingDriver, screen_text, until


@given(st.text())
def test_any_text_becomes_ascii_of_the_same_number_of_cells(text: str) -> None:
    text = text.translate(DANGEROUS)
    plain = to_ascii(text)
    assert plain.isascii() and cell_len(plain) == cell_len(text)


def test_every_character_we_draw_has_a_replacement() -> None:
    files = [path for folder in ("view", "tui") for path in (Path(llmtui.__file__).parent / folder).rglob("*.py")]
    for path in files:
        texts = [n.value for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Constant)]
        for character in {c for text in texts if isinstance(text, str) for c in text if ord(c) > 0xA0}:
            if character.isprintable() and not character.isalpha():
                assert to_ascii(character) != "?", f"{path.name} draws {character!r}: add it to _GLYPHS"


def test_curves_keep_their_direction() -> None:
    assert [to_ascii(dots) for dots in "⠒⠉⣀⡇⣿⡔⢢⠀"] == ["-", '"', "_", "|", "#", "/", "\\", " "]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LC_ALL": "", "LC_CTYPE": "C.utf8"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, True),
        ({"LC_ALL": "C", "LANG": "en_US.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8", "LLMTUI_ASCII": "1"}, True),
        ({"LC_ALL": "C", "LLMTUI_ASCII": "0"}, False),
    ],
)
def test_the_locale_decides_unless_asked(
    variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ascii_only() is expected


@pytest.mark.heavy
async def test_in_ascii_mode_the_terminal_gets_no_other_byte(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMTUI_ASCII", "1")
    monkeypatch.setattr(CountingDriver, "text", "")
    finished_run(workspace, "bard", 100)
    app = Workbench(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        app._driver.__class__ = CountingDriver
        await pilot.press("slash", *"käse", "escape")
        for key in ("3", "4", "7", "2", "question_mark", "escape", "colon", "escape", "5", "escape", "1", "n"):
            await pilot.press(key)
            await pilot.pause(0.2)
        await until(pilot, lambda: "New run" in screen_text(app))
    assert CountingDriver.text.isascii()
    assert "+----" in CountingDriver.text and "kase" in CountingDriver.text
