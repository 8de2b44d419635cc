"""config.toml: valid settings apply, each of the others is reported in one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.recipe.checks import RecipeError
from core.recipe.file import load
from core.recipe.schema import Rules
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.settings_dialog import SettingsDialog
from llmtui.tui.settings import (
    SettingNotChanged,
    Settings,
    load_settings,
    setting_fields,
    typed_setting,
    with_default_rules,
    write_setting,
)
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


MINE = """# my own
theme = "ink"  # for the evening
unknown = 3

[keymap]
"app.help" = "f2"
"""


def test_a_changed_setting_leaves_comments_and_everything_else_in_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, MINE)
    write_setting(path, "theme", "paper")
    assert path.read_text() == MINE.replace('"ink"', '"paper"')
    write_setting(path, "mouse", "off")
    settings, problems = load_settings(path)
    assert settings == Settings(theme="paper", mouse="off", keymap={"app.help": "f2"}) and len(problems) == 1
    write_setting(path, "mouse", None)
    assert "# my own" in path.read_text() and load_settings(path)[0].mouse == "auto"


def test_the_file_is_created_and_a_link_to_it_stays_a_link(tmp_path: Path) -> None:
    write_setting(tmp_path / "new" / "config.toml", "bell", False)
    assert load_settings(tmp_path / "new" / "config.toml")[0].bell is False
    link = tmp_path / "config.toml"
    link.symlink_to(written(tmp_path / "new", MINE))
    write_setting(link, "mouse", "on")
    assert link.is_symlink() and load_settings(link)[0].mouse == "on"


def test_a_file_that_is_not_toml_is_not_written(tmp_path: Path) -> None:
    path = written(tmp_path, "mouse = \n")
    with pytest.raises(SettingNotChanged, match="it is not valid TOML"):
        write_setting(path, "mouse", "on")
    assert path.read_text() == "mouse = \n"


def test_what_is_typed_is_checked_as_in_the_file() -> None:
    fields = {field.name: field for field in setting_fields()}
    assert fields.keys() == set(Settings.__struct_fields__) - {"keymap", "rules"}
    assert typed_setting(fields["refresh_hz"], " 4 ") == 4 and typed_setting(fields["refresh_hz"], "") is None
    assert typed_setting(fields["bell"], "false") is False
    with pytest.raises(SettingNotChanged, match="is not a number at least 0"):
        typed_setting(fields["refresh_hz"], "99")


@pytest.mark.heavy
@pytest.mark.parametrize("size", [(60, 16), (120, 40)])
async def test_settings_are_changed_in_a_dialog_and_apply_at_once(workspace: Workspace, size: tuple[int, int]) -> None:
    config = workspace.config / "config.toml"
    config.write_text(MINE.replace("unknown = 3\n", ""))
    app = Workbench(workspace)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.theme == "ink" and "llmtui" in screen_text(app))
        await pilot.press("colon", *"setting theme", "enter")
        await until(pilot, lambda: isinstance(app.screen, SettingsDialog) and "Name of the theme" in screen_text(app))
        await pilot.press("right")
        await until(pilot, lambda: app.theme != "ink" and f'theme = "{app.theme}"  # for the' in config.read_text())
        await pilot.press("down", "down", "enter", *"99")
        await until(pilot, lambda: "refresh_hz = '99' is not a number" in screen_text(app))
        await pilot.press("backspace", "backspace", "4", "enter")
        await until(pilot, lambda: app.session.settings.refresh_hz == 4 and app.session.watcher.period == 0.25)
        await pilot.press("down", "right")
        await until(pilot, lambda: app.session.settings.ascii == "off")
        await pilot.press("backspace")
        await until(pilot, lambda: app.session.settings.ascii == "auto" and "ascii" not in config.read_text())
        await pilot.press("escape")
        await until(pilot, lambda: not app.screen.is_modal)


def test_rules_of_the_settings_are_those_of_new_runs_whose_recipe_has_none(workspace: Workspace) -> None:
    (workspace.config / "config.toml").write_text('[rules]\nbelow = 1.5\ncommand = "true"\n')
    session = Workbench(workspace).session
    assert session.problems == []
    assert session.create(load(preset="demo")).recipe.rules == Rules(below=1.5, command="true")
    own = load(preset="demo", overrides=["rules.below=1.2"])
    assert session.create(own).recipe.rules == own.rules
    with pytest.raises(RecipeError, match=r"without rules\.below"):
        with_default_rules(load(preset="demo"), Settings(rules=Rules(stop=True)))


def test_invalid_rules_are_reported(tmp_path: Path) -> None:
    settings, problems = load_settings(written(tmp_path, "[rules]\nbellow = 1\n"))
    assert settings == Settings()
    assert problems == ["config.toml: rules = {'bellow': 1} is not a table of below, stop, command"]


async def test_the_dialog_shows_what_applies_where_a_setting_is_left_out(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app))
        await pilot.press("P")
        await until(pilot, lambda: "Name of the theme" in screen_text(app))
        assert re.search(r"│ +theme +ink .*│ +refresh_hz +2 .*│ default +ink ", screen_text(app), re.DOTALL)
        await pilot.press("escape", "t")
        await until(pilot, lambda: "Themes" in screen_text(app))
        await pilot.press(*"paper", "enter", "P")
        await until(pilot, lambda: "paper, chosen with t" in screen_text(app))
        await pilot.press("backspace")
        await until(pilot, lambda: app.theme == "ink" and "chosen with t" not in screen_text(app))
