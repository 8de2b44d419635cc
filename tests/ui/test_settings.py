"""Settings and themes: what can be used is used, the rest is said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.color import Color

from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.settings import Settings, load_settings
from llmtui.tui.theming import ThemeError, load_themes, read_theme, shipped
from tests.ui.viewing import screen_text, until


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_no_file_means_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "config.toml") == (Settings(), [])


def test_wrong_settings_are_named_and_the_others_hold(tmp_path: Path) -> None:
    settings, problems = load_settings(written(tmp_path, 'mouse = "maybe"\nthem = "ink"\nrefresh_hz = 4\n'))
    assert settings == Settings(refresh_hz=4)
    assert problems == [
        "config.toml: mouse = 'maybe' is not one of auto, off, on",
        "config.toml: unknown setting 'them'; did you mean 'theme'?",
    ]


def test_a_file_that_is_no_toml_is_one_sentence(tmp_path: Path) -> None:
    settings, problems = load_settings(written(tmp_path, "mouse = \n"))
    assert settings == Settings() and len(problems) == 1 and problems[0].startswith("config.toml is not used: ")


async def test_problems_are_told_once_at_the_start(workspace: Workspace) -> None:
    (workspace.config / "config.toml").write_text('theme = "nowhere"\n')
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "there is no theme 'nowhere'" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "welcome" in screen_text(app))


def test_themes_ship_dark_light_contrast_and_colour_blind_safe(workspace: Workspace) -> None:
    themes, problems = load_themes(workspace)
    assert not problems
    assert {"ink", "paper", "contrast", "steady", "ansi-dark"} <= set(themes)
    assert not themes["paper"].dark


async def test_every_shipped_theme_can_be_put_on(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        for name in app.theme_names:
            app.theme = name
            await pilot.press("n")
            await until(pilot, lambda: "New run" in screen_text(app))
            await pilot.press("escape")
            await until(pilot, lambda: "welcome" in screen_text(app))


def contrast(one: str | None, other: str | None) -> float:
    """Contrast ratio of two colours as WCAG 2 defines it."""

    def luminance(text: str | None) -> float:
        parts = [channel / 255 for channel in Color.parse(text or "").rgb]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("path", sorted(shipped().glob("*.toml")), ids=lambda path: path.stem)
def test_text_and_curves_stand_out_from_their_ground(path: Path) -> None:
    """WCAG's 4.5 to 1 for text, 3 to 1 for lines; the terminal's own colours cannot be known."""
    theme = read_theme(path)
    if theme.ansi:
        return
    texts = [theme.foreground, theme.primary, theme.accent, theme.success, theme.warning, theme.error]
    for colour in (*texts, theme.variables["muted"]):
        assert contrast(colour, theme.background) >= 4.5, colour
        assert contrast(colour, theme.surface) >= 4.0, colour
    for name in ("chart-train", "chart-val", "chart-extra"):
        assert contrast(theme.variables[name], theme.background) >= 3.0, name


def test_a_theme_of_two_lines_works_and_replaces_a_shipped_one(workspace: Workspace) -> None:
    (workspace.config / "themes").mkdir()
    (workspace.config / "themes" / "mine.toml").write_text('name = "ink"\nprimary = "#ff8800"\n')
    themes, problems = load_themes(workspace)
    assert not problems and themes["ink"].primary == "#ff8800"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('name = "x"\nprimary = "#12345"\n', "primary = '#12345' is not a colour"),
        ('name = "x"\nprimary = "red"\nbakground = "blue"\n', "unknown key 'bakground'; did you mean 'background'?"),
        ('name = "x"\nprimary = "red"\n[chart]\ntrian = "blue"\n', "unknown key 'trian'; did you mean 'train'?"),
        ('name = "x"\n', "missing required field `primary`"),
    ],
)
def test_a_bad_theme_says_what_is_wrong(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ThemeError, match=r"^[^\n]*$") as caught:
        read_theme(path)
    assert why in str(caught.value)
