"""themes/*.toml as Textual themes: the shipped ones, and the user's own in the folder `themes` of their config."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from textual.color import Color, ColorParseError
from textual.theme import BUILTIN_THEMES, Theme

from core import ROOT
from core.errors import did_you_mean
from core.parsing import ParseError, read_toml
from core.storage.workspace import Workspace

DEFAULT = "ink"


class Curves(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Colours of charts; what is not given follows from the others."""

    train: str = ""
    val: str = ""
    raw: str = ""
    """The unsmoothed values behind a smoothed curve."""
    extra: str = ""
    """Learning rate, gradient norm, speed."""


class ThemeFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One theme file. Only `name` and `primary` are needed. Colours as Textual takes them: #rrggbb or names."""

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
    muted: str = ""
    """Text of less weight."""
    frame: str = ""
    """Lines between panes."""
    chart: Curves = Curves()
    variables: dict[str, str] = {}
    """Any variable of Textual's style sheets."""


class ThemeError(ValueError):
    """A theme file that cannot be used; the message says why."""


_FALLBACK = {"success": "#4cc38a", "warning": "#e5b567", "error": "#f2777a"}
_FALLBACK_LIGHT = {"success": "#18794e", "warning": "#8f5a00", "error": "#c2292e"}


def read_theme(path: Path) -> Theme:
    """The theme in `path`. Raises ThemeError."""
    try:
        tables = read_toml(path)
    except (OSError, ParseError) as error:
        raise ThemeError(str(error)) from None
    _refuse_unknown(tables, ThemeFile)
    if isinstance(tables.get("chart"), dict):
        _refuse_unknown(tables["chart"], Curves)
    try:
        return theme_from(msgspec.convert(tables, ThemeFile))
    except msgspec.ValidationError as error:
        raise ThemeError(str(error)) from None


def _refuse_unknown(table: dict[str, Any], struct: type[Struct]) -> None:
    known = struct.__struct_fields__
    for name in table:
        if name not in known:
            raise ThemeError(f"unknown key {name!r}; {did_you_mean(name, known) or 'known: ' + ', '.join(known)}")


def theme_from(file: ThemeFile) -> Theme:
    """The Textual theme that `file` describes, with the variables our style sheets use. Raises ThemeError."""
    named = {name: getattr(file, name) for name in _COLOURS if getattr(file, name)}
    named |= {f"chart.{name}": getattr(file.chart, name) for name in Curves.__struct_fields__}
    for name, value in {**named, "primary": file.primary}.items():
        if value or name == "primary":
            try:
                Color.parse(value)
            except ColorParseError:
                raise ThemeError(f"{name} = {value!r} is not a colour") from None
    plain = (
        ("ansi_default", "ansi_default")
        if file.ansi
        else ("#e6e6e6", "#121417")
        if file.dark
        else ("#1a1c1f", "#fbfbf9")
    )
    foreground, background = file.foreground or plain[0], file.background or plain[1]
    fallback = _FALLBACK if file.dark else _FALLBACK_LIGHT
    colours = {name: getattr(file, name) or fallback[name] for name in fallback}
    accent = file.accent or file.primary

    def between(near: str, far: str, share: float) -> str:
        """`near` moved by `share` towards `far`; the terminal's own colours cannot be mixed."""
        return "ansi_bright_black" if file.ansi else Color.parse(near).blend(Color.parse(far), share).hex

    train = file.chart.train or accent
    variables = {
        "muted": file.muted or between(foreground, background, 0.38),
        "frame": file.frame or between(foreground, background, 0.76),
        "chart-train": train,
        "chart-val": file.chart.val or colours["warning"],
        "chart-raw": file.chart.raw or between(train, background, 0.5),
        "chart-extra": file.chart.extra or file.secondary or file.primary,
        "ink-background": background,
        **(BUILTIN_THEMES["ansi-dark" if file.dark else "ansi-light"].variables if file.ansi else {}),
        **file.variables,
    }
    return Theme(
        name=file.name,
        primary=file.primary,
        secondary=file.secondary,
        accent=accent,
        foreground=foreground,
        background=background,
        surface=file.surface or background,
        panel=file.panel or between(background, foreground, 0.08) if not file.ansi else "ansi_default",
        dark=file.dark,
        ansi=file.ansi,
        success=colours["success"],
        warning=colours["warning"],
        error=colours["error"],
        variables=variables,
    )


_COLOURS = (
    "primary", "secondary", "accent", "foreground", "background", "surface", "panel", "success", "warning", "error",
    "muted", "frame",
)  # fmt: skip


def shipped() -> Path:
    """The folder of the themes that come with the program: in the package, or beside it in a checkout."""
    packaged = Path(str(files("llmtui") / "themes"))
    return packaged if packaged.is_dir() else ROOT / "themes"


def _theme_files(workspace: Workspace) -> Iterator[Path]:
    for folder in (shipped(), workspace.config / "themes"):
        yield from sorted(folder.glob("*.toml"))


def load_themes(workspace: Workspace) -> tuple[dict[str, Theme], list[str]]:
    """Every usable theme by name, the user's replacing shipped ones of that name, and a sentence for each bad file."""
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
