"""config.toml: valid settings apply, each of the others is reported in one sentence."""

from __future__ import annotations

from pathlib import Path

from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.settings import Settings, load_settings
from tests.ui.pilot import screen_text, until


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_without_a_file_settings_have_their_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "config.toml") == (Settings(), [])


def test_invalid_settings_are_reported_and_the_others_apply(tmp_path: Path) -> None:
    settings, problems = load_settings(written(tmp_path, 'mouse = "maybe"\nthem = "ink"\nrefresh_hz = 4\n'))
    assert settings == Settings(refresh_hz=4)
    assert problems == [
        "config.toml: mouse = 'maybe' is not one of auto, off, on",
        "config.toml: unknown setting 'them'; did you mean 'theme'?",
    ]


def test_invalid_toml_is_reported_in_one_sentence(tmp_path: Path) -> None:
    settings, problems = load_settings(written(tmp_path, "mouse = \n"))
    assert settings == Settings() and len(problems) == 1 and problems[0].startswith("config.toml is not used: ")


async def test_problems_are_shown_once_at_the_start(workspace: Workspace) -> None:
    (workspace.config / "config.toml").write_text('theme = "nowhere"\n')
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "there is no theme 'nowhere'" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "welcome" in screen_text(app))
