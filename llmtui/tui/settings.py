"""The user's config.toml, and the state that the workbench restores at its next start."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from core.errors import UsageError, did_you_mean
from core.parsing import ParseError, read_json, read_toml
from core.recipe.checks import check_together
from core.recipe.fields import Field, allowed, fields_of
from core.recipe.schema import Recipe, Rules
from core.storage.files import write_atomic


class Settings(Struct, frozen=True, kw_only=True):
    """The settings of config.toml, all optional. The Settings dialog follows from the annotations."""

    theme: Annotated[str, Meta(description="Name of the theme; one chosen with `t` takes precedence.")] = ""
    keymap: Annotated[dict[str, str], Meta(description="Action to keys, separated by commas.")] = {}
    mouse: Annotated[
        Literal["auto", "on", "off"],
        Meta(description="auto: not over SSH, where every movement would cross the line."),
    ] = "auto"
    refresh_hz: Annotated[
        Annotated[float, Meta(ge=0.1, le=10)] | None,
        Meta(description="Updates per second; by default 2."),
    ] = None
    ascii: Annotated[
        Literal["auto", "on", "off"],
        Meta(description="Draw with ASCII characters alone. auto: where LLMTUI_ASCII=1 or the locale is not UTF-8."),
    ] = "auto"
    bell: Annotated[bool, Meta(description="Ring the terminal's bell when a run or a study ends by itself.")] = True
    terminal_title: Annotated[bool, Meta(description="Show the progress of a run as the terminal's title.")] = True
    desktop_notices: Annotated[
        bool,
        Meta(
            description="Desktop notice when a run or a study ends by itself, in terminals that are known to show them."
        ),
    ] = True
    rules: Annotated[Rules, Meta(description="[rules] of new runs whose recipe has none, as in a recipe.")] = Rules()
    smoothing: Annotated[float, Meta(ge=0, lt=1, description="Smoothing of the training loss at the start.")] = 0.9


def load_settings(path: Path) -> tuple[Settings, list[str]]:
    """The settings in the file `path`, and a sentence for each invalid one, which keeps its default."""
    try:
        tables = read_toml(path)
    except FileNotFoundError:
        return Settings(), []
    except (OSError, ParseError) as error:
        return Settings(), [f"{path.name} is not used: {error}"]
    kinds = {field.name: field.type for field in msgspec.inspect.type_info(Settings).fields}  # type: ignore[attr-defined]
    good: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in tables.items():
        if name not in kinds:
            hint = did_you_mean(name, kinds)
            problems.append(f"{path.name}: unknown setting {name!r}" + (f"; {hint}" if hint else ""))
            continue
        try:
            msgspec.convert({name: value}, Settings)
        except msgspec.ValidationError:
            what = "a table of texts" if name == "keymap" else allowed(kinds[name])
            problems.append(f"{path.name}: {name} = {value!r} is not {what}")
            continue
        good[name] = value
    return msgspec.convert(good, Settings), problems


def with_default_rules(recipe: Recipe, settings: Settings) -> Recipe:
    """`recipe` with the rules of the settings if it has none. Raises RecipeError if these do not fit together."""
    if recipe.rules != Rules() or settings.rules == Rules():
        return recipe
    changed = msgspec.structs.replace(recipe, rules=settings.rules)
    check_together(changed, "config.toml")
    return changed


class SettingsError(UsageError):
    """A setting in config.toml or a theme file is invalid."""

    doing = "use all of your settings"


class SettingNotChanged(UsageError):
    """A setting was not changed."""

    doing = "change the setting"


def setting_fields() -> list[Field]:
    """The settings that a text can be typed for: without the keymap and the rules, which are tables."""
    return [field for field in fields_of(Settings, "") if field.name not in ("keymap", "rules")]


def typed_setting(field: Field, text: str) -> Any:
    """The value of a setting that was typed; None: it is left out. Raises SettingNotChanged."""
    text = text.strip()
    if field.optional and not text:
        return None
    try:
        return getattr(msgspec.convert({field.name: text}, Settings, strict=False), field.name)
    except msgspec.ValidationError:
        raise SettingNotChanged(f"{field.name} = {text!r} is not {field.allowed}") from None


def write_setting(path: Path, name: str, value: Any) -> None:
    """Give one setting in the file `path` its value, or take it out if that is None; comments and all else stay.

    Raises SettingNotChanged if the file cannot be read or written, or is not TOML.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    kept = "the file is as it was"
    try:
        path = path.resolve()  # a link, as in a repository of dotfiles, stays one
        text = path.read_text("utf-8") if path.exists() else ""
        tables = tomlkit.parse(text if text.endswith("\n") or not text else text + "\n")
        if value is not None:
            tables[name] = value
        elif name in tables:
            tables.remove(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, tomlkit.dumps(tables).encode())
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise SettingNotChanged(f"it is not valid TOML: {error}", where=str(path), kept=kept) from None
    except OSError as error:
        raise SettingNotChanged((error.strerror or str(error)).lower(), where=str(path), kept=kept) from None


class UiState(Struct, kw_only=True):
    """What the user chose in the workbench, restored at the next start."""

    theme: str = ""
    log: bool = False
    """Loss on a logarithmic axis."""
    x_log: bool = False
    """Charts with a logarithmic x axis."""
    x_axis: str = ""
    """What the x axis of the charts shows: a value of `llmtui.view.step_axis.XKind`."""
    unit: str = ""
    """Of losses: a value of `llmtui.view.loss_unit.LossUnit`."""
    small_charts: str = ""
    """How the charts beside the loss are laid out; empty: by the size of the terminal."""
    columns: tuple[str, ...] = ()
    """Of the list of runs, see `llmtui.view.run_columns`; empty: the default ones."""
    sort: str = ""
    """The column by which it is sorted; empty: the newest run first."""
    sort_reversed: bool = False
    archived: bool = False
    """Whether it shows archived runs."""
    trials: bool = False
    """Whether it shows trials of studies that have ended."""
    compared: tuple[str, ...] = ()
    """Ids of the runs marked for the Compare screen."""
    baseline: str = ""
    """Id of the run there to which differences are given; empty: the first."""
    compare_sort: str = ""
    compare_reversed: bool = False
    """Its order, see `llmtui.view.comparison`."""
    study: str = ""
    """Id of the study shown; empty: the newest."""
    study_sort: str = ""
    study_reversed: bool = False
    """The order of its trials, see `llmtui.view.study_table`."""


def load_ui_state(state: Path) -> UiState:
    """The state saved in the directory `state`; the default one if there is none or it is damaged."""
    with contextlib.suppress(OSError, ParseError):
        return read_json(state / "workbench.json", UiState)
    return UiState()


def save_ui_state(state: Path, ui_state: UiState) -> None:
    """Save `ui_state`. A full or read-only disk only means that it is not restored next time."""
    with contextlib.suppress(OSError):
        write_atomic(state / "workbench.json", msgspec.json.encode(ui_state), durable=False)
