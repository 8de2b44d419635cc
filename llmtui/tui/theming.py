"""themes/*.toml as Textual themes: the shipped ones, and the user's in `themes` of their configuration directory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from textual.color import Color, ColorParseError
from textual.theme import BUILTIN_THEMES, Theme

from core import ROOT
from core.errors import did_you_mean
from core.parsing import ParseError, read_toml
from core.storage.workspace import Workspace

DEFAULT = "ink"


class ThemeFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A theme file without the keys of `VARIABLES`. Only `name` and `primary` are required.

    Colours are what Textual takes: #rrggbb or names.
    """

    name: str
    primary: str
    dark: bool = True
    ansi: bool = False
    """Use the terminal's own sixteen colours, such as ansi_blue."""
    secondary: str | None = None
    accent: str | None = None
    foreground: str | None = None
    background: str | None = None
    surface: str | None = None
    panel: str | None = None
    success: str | None = None
    warning: str | None = None
    error: str | None = None
    variables: dict[str, str] = {}
    """Further variables of Textual's style sheets."""


class ThemeError(ValueError):
    """A theme file that cannot be used; the message says why."""


class Palette(NamedTuple):
    """What the defaults of theme variables are made from."""

    theme: ThemeFile
    foreground: str
    background: str
    accent: str
    warning: str

    def blend(self, color: str, other: str, share: float) -> str:
        """`color` moved by `share` towards `other`; the terminal's own colours cannot be blended."""
        if self.theme.ansi:
            return "ansi_bright_black"
        return Color.parse(color).blend(Color.parse(other), share).hex


class ThemeVariable(NamedTuple):
    """A variable of our style sheets that Textual does not have."""

    name: str
    """Without the $."""
    key: str
    """In a theme file; a dot separates table and key. Empty: it cannot be set."""
    default: Callable[[Palette, Mapping[str, str]], str]
    """Its colour if the theme file has none, given the variables before it."""


RUN_COLORS = 6
"""Number of runs that charts can lay over another one, each in a colour of its own."""

_RUNS = {
    "dark": ("#4cc38a", "#e88aa8", "#e0d561", "#4fc4cf", "#d0915f", "#b3b9c4"),
    "light": ("#18794e", "#b0306a", "#7a6a00", "#0b7285", "#8a4b1a", "#5b6270"),
    "ansi": ("ansi_green", "ansi_red", "ansi_bright_white", "ansi_cyan", "ansi_yellow", "ansi_magenta"),
}


def _run_color(palette: Palette, _: Mapping[str, str], number: int) -> str:
    kind = "ansi" if palette.theme.ansi else "dark" if palette.theme.dark else "light"
    return _RUNS[kind][number - 1]


VARIABLES = (
    ThemeVariable("muted", "muted", lambda p, _: p.blend(p.foreground, p.background, 0.38)),  # less important text
    ThemeVariable("frame", "frame", lambda p, _: p.blend(p.foreground, p.background, 0.76)),  # borders of panes
    ThemeVariable("chart-train", "chart.train", lambda p, _: p.accent),
    ThemeVariable("chart-val", "chart.val", lambda p, _: p.warning),
    # the values behind a smoothed curve
    ThemeVariable("chart-raw", "chart.raw", lambda p, done: p.blend(done["chart-train"], p.background, 0.5)),
    # learning rate, gradient norm, speed
    ThemeVariable("chart-extra", "chart.extra", lambda p, _: p.theme.secondary or p.theme.primary),
    # runs laid over another one
    *(
        ThemeVariable(f"chart-run-{n + 1}", f"chart.run-{n + 1}", partial(_run_color, number=n))
        for n in range(RUN_COLORS)
    ),
    ThemeVariable("ink-background", "", lambda p, _: p.background),
)

_DARK = {"success": "#4cc38a", "warning": "#e5b567", "error": "#f2777a"}
_LIGHT = {"success": "#18794e", "warning": "#8f5a00", "error": "#c2292e"}

_COLOURS = (
    "primary", "secondary", "accent", "foreground", "background", "surface", "panel", "success", "warning", "error",
)  # fmt: skip


def read_theme(path: Path) -> Theme:
    """The theme in the file `path`. Raises ThemeError."""
    try:
        return parse_theme(read_toml(path))
    except (OSError, ParseError, msgspec.ValidationError) as error:
        raise ThemeError(str(error)) from None


def parse_theme(tables: Mapping[str, Any]) -> Theme:
    """The Textual theme that the contents of a theme file describe.

    Raises ThemeError for unknown keys and for what is not a colour, msgspec.ValidationError for wrong types.
    """
    keys = [variable.key for variable in VARIABLES if variable.key]
    groups = {key.partition(".")[0] for key in keys if "." in key}
    _reject_unknown_keys(tables, [*ThemeFile.__struct_fields__, *(key for key in keys if "." not in key), *groups])
    given: dict[str, Any] = {}
    rest = dict(tables)
    for group in groups & rest.keys():
        table = rest.pop(group)
        if not isinstance(table, dict):
            raise ThemeError(f"{group} = {table!r} is not a table")
        _reject_unknown_keys(table, [key.partition(".")[2] for key in keys if key.startswith(f"{group}.")])
        given |= {f"{group}.{name}": value for name, value in table.items()}
    given |= {key: rest.pop(key) for key in keys if key in rest}
    file = msgspec.convert(rest, ThemeFile)
    for name, value in [*((name, getattr(file, name)) for name in _COLOURS), *given.items()]:
        if value or name == "primary":
            _check_color(name, value)
    return _theme(file, {key: value for key, value in given.items() if value})


def _reject_unknown_keys(table: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in table:
        if name not in known:
            raise ThemeError(f"unknown key {name!r}; {did_you_mean(name, known) or 'known: ' + ', '.join(known)}")


def _check_color(name: str, value: object) -> None:
    try:
        Color.parse(value)
    except (ColorParseError, AttributeError, TypeError):
        raise ThemeError(f"{name} = {value!r} is not a colour") from None


def _theme(file: ThemeFile, given: Mapping[str, str]) -> Theme:
    """given: values of `VARIABLES` by their key."""
    if file.ansi:
        foreground, background = "ansi_default", "ansi_default"
    else:
        foreground, background = ("#e6e6e6", "#121417") if file.dark else ("#1a1c1f", "#fbfbf9")
    foreground, background = file.foreground or foreground, file.background or background
    colours = {name: getattr(file, name) or value for name, value in (_DARK if file.dark else _LIGHT).items()}
    accent = file.accent or file.primary
    palette = Palette(file, foreground, background, accent, colours["warning"])
    variables: dict[str, str] = {}
    for variable in VARIABLES:
        variables[variable.name] = given.get(variable.key) or variable.default(palette, variables)
    if file.ansi:
        variables |= BUILTIN_THEMES["ansi-dark" if file.dark else "ansi-light"].variables
    return Theme(
        name=file.name,
        primary=file.primary,
        secondary=file.secondary,
        accent=accent,
        foreground=foreground,
        background=background,
        surface=file.surface or background,
        panel=file.panel or ("ansi_default" if file.ansi else palette.blend(background, foreground, 0.08)),
        dark=file.dark,
        ansi=file.ansi,
        success=colours["success"],
        warning=colours["warning"],
        error=colours["error"],
        variables=variables | file.variables,
    )


def default_variables() -> dict[str, str]:
    """`VARIABLES` for themes of Textual's own, which do not set them."""
    variables = parse_theme({"name": "default", "primary": "#7aa2f7"}).variables
    return {variable.name: variables[variable.name] for variable in VARIABLES}


def shipped() -> Path:
    """The directory of the themes that are part of llmtui: in the package, or beside it in a checkout."""
    packaged = Path(str(files("llmtui") / "themes"))
    return packaged if packaged.is_dir() else ROOT / "themes"


def user_files(workspace: Workspace) -> dict[Path, tuple[int, int]]:
    """The user's theme files with what changes when they do: time of the change and size."""
    stamps: dict[Path, tuple[int, int]] = {}
    for path in (workspace.config / "themes").glob("*.toml"):
        with contextlib.suppress(OSError):  # deleted meanwhile
            status = path.stat()
            stamps[path] = status.st_mtime_ns, status.st_size
    return stamps


def _theme_files(workspace: Workspace) -> Iterator[Path]:
    for folder in (shipped(), workspace.config / "themes"):
        yield from sorted(folder.glob("*.toml"))


def load_themes(workspace: Workspace) -> tuple[dict[str, Theme], list[str]]:
    """All usable themes by name, and a sentence for each file that is not. The user's replace shipped ones."""
    themes: dict[str, Theme] = {}
    problems: list[str] = []
    for path in _theme_files(workspace):
        try:
            theme = read_theme(path)
        except ThemeError as error:
            problems.append(f"theme {path.name} is not used: {error}")
        else:
            themes[theme.name] = theme
    return themes, problems
