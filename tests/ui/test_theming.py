"""Themes: the shipped ones are readable, and what is wrong in a theme file is said in one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from textual.color import Color
from textual.theme import BUILTIN_THEMES

import llmtui.tui
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.theming import VARIABLES, ThemeError, default_variables, load_themes, read_theme, shipped
from llmtui.tui.widgets.pane import ROLES
from tests.ui.pilot import screen_text, until

STYLE_SHEETS = sorted(Path(llmtui.tui.__file__).parent.rglob("*.tcss"))


def test_variables_of_style_sheets_and_roles_are_declared() -> None:
    textuals = {*BUILTIN_THEMES["textual-dark"].to_color_system().generate(), "foreground"}
    ours = {variable.name for variable in VARIABLES}
    used = {name: path.name for path in STYLE_SHEETS for name in re.findall(r"\$([\w-]+)", path.read_text())}
    used |= {name: f"the role {role!r} of ROLES" for role, (name, _) in ROLES.items() if name}
    for name, where in used.items():
        assert name in textuals | ours, f"{where} uses ${name}, which is not in VARIABLES"
    unused = ours - used.keys()
    assert not unused, f"no style sheet and no role uses {unused}"


def test_every_variable_has_a_default() -> None:
    for name, value in default_variables().items():
        assert Color.parse(value), f"the default of {name} is {value!r}, which is not a colour"


@pytest.mark.parametrize("variable", [variable for variable in VARIABLES if variable.key], ids=lambda v: v.name)
def test_every_variable_can_be_set_in_a_theme_file(tmp_path: Path, variable: object) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\nprimary = "#ff8800"\n{variable.key} = "#010203"\n')  # type: ignore[attr-defined]
    assert read_theme(path).variables[variable.name] == "#010203"  # type: ignore[attr-defined]


def test_shipped_themes_include_dark_light_contrast_and_colour_blind_safe(workspace: Workspace) -> None:
    themes, problems = load_themes(workspace)
    assert not problems
    assert {"ink", "paper", "contrast", "steady", "ansi-dark"} <= set(themes)
    assert not themes["paper"].dark


@pytest.mark.heavy
async def test_every_shipped_theme_can_be_applied(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        for name in app.theme_names:
            app.theme = name
            await pilot.press("n")
            await until(pilot, lambda: "New run" in screen_text(app))
            await pilot.press("escape")
            await until(pilot, lambda: "welcome" in screen_text(app))


def contrast(first: str | None, second: str | None) -> float:
    """Contrast ratio of two colours as WCAG 2 defines it."""

    def luminance(text: str | None) -> float:
        parts = [channel / 255 for channel in Color.parse(text or "").rgb]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("path", sorted(shipped().glob("*.toml")), ids=lambda path: path.stem)
def test_text_and_curves_have_contrast_with_their_background(path: Path) -> None:
    """WCAG's 4.5 to 1 for text, 3 to 1 for lines; the terminal's own colours cannot be known."""
    theme = read_theme(path)
    if theme.ansi:
        return
    texts = [theme.foreground, theme.primary, theme.accent, theme.success, theme.warning, theme.error]
    for colour in (*texts, theme.variables["muted"]):
        assert contrast(colour, theme.background) >= 4.5, colour
        assert contrast(colour, theme.surface) >= 4.0, colour
    lines = [variable.name for variable in VARIABLES if variable.name.startswith("chart-")]
    for name in lines:
        least = 1.6 if name == "chart-raw" else 3.0  # dim, behind the average of the same values
        assert contrast(theme.variables[name], theme.background) >= least, name
    assert contrast(theme.variables["frame"], theme.background) >= 1.4


def test_a_theme_of_two_lines_works_and_replaces_a_shipped_one(workspace: Workspace) -> None:
    (workspace.config / "themes").mkdir()
    (workspace.config / "themes" / "mine.toml").write_text('name = "ink"\nprimary = "#ff8800"\n')
    themes, problems = load_themes(workspace)
    assert not problems and themes["ink"].primary == "#ff8800"


@pytest.mark.heavy
async def test_a_theme_is_applied_again_when_its_file_changes_and_an_error_is_a_notice(workspace: Workspace) -> None:
    (workspace.config / "config.toml").write_text('theme = "mine"\nrefresh_hz = 10\n')
    file = workspace.config / "themes" / "mine.toml"
    file.parent.mkdir()
    file.write_text('name = "mine"\nprimary = "#ff8800"\n')
    app = Workbench(workspace)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app) and app.theme == "mine")
        file.write_text('name = "mine"\nprimary = "#0088ff"\nmuted = "#123456"\n')
        await until(pilot, lambda: app.theme_variables["muted"] == "#123456")
        file.write_text('name = "mine"\nprimary = "blau"\n')
        await until(pilot, lambda: "theme mine.toml is not used: primary = 'blau' is not a colour." in screen_text(app))
        assert app.theme == "mine" and app.theme_variables["muted"] == "#123456"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('name = "x"\nprimary = "#12345"\n', "primary = '#12345' is not a colour"),
        ('name = "x"\nprimary = "red"\nbakground = "blue"\n', "unknown key 'bakground'; did you mean 'background'?"),
        ('name = "x"\nprimary = "red"\n[chart]\ntrian = "blue"\n', "unknown key 'trian'; did you mean 'train'?"),
        ('name = "x"\nprimary = "red"\nmuted = 3\n', "muted = 3 is not a colour"),
        ('name = "x"\nprimary = "red"\nchart = 3\n', "chart = 3 is not a table"),
        ('name = "x"\n', "missing required field `primary`"),
    ],
)
def test_a_bad_theme_says_what_is_wrong(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ThemeError, match=r"^[^\n]*$") as caught:
        read_theme(path)
    assert why in str(caught.value)
