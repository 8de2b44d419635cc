"""Values that the form of a run offers for a field."""

from __future__ import annotations

from collections.abc import Sequence

from core.init.spec import PUBLISHED
from core.model.preset_table import preset_table
from core.recipe.fields import Field
from core.runs.measured_speed import MeasuredSpeed
from core.sources.complete import complete_source
from core.storage.workspace import Workspace
from llmtui.tui.recipe_form import PRESET
from llmtui.tui.widgets.form_panes import Suggestion
from llmtui.view.forecast_text import rough_time
from llmtui.view.units import count, size


def known_values(field: Field, runs: Sequence[str], speeds: Sequence[MeasuredSpeed]) -> list[Suggestion]:
    """The values of a field that are known at once; none for one that takes any number or text.

    runs: ids, whose weights a training may begin with. speeds: of earlier runs, for the time of presets.
    """
    if field.key == PRESET.key:
        return [
            Suggestion(each.name, f"{count(each.parameters):>5}  {rough_time(each.recipe, speeds):<17}  {each.about}")
            for each in preset_table()
        ]
    if field.key == "model.init":
        published = [Suggestion(f"hf:{name}", "published weights") for name in PUBLISHED]
        return [*published, *(Suggestion(f"run:{run_id}") for run_id in runs)]
    left_out = [Suggestion("")] if field.optional else []
    return [*left_out, *map(Suggestion, field.choices)] if field.choices else []


def source_values(text: str, workspace: Workspace) -> list[Suggestion]:
    """Sources that begin with `text`; reads directories."""
    return [
        Suggestion(each.value, f"{size(each.bytes) if each.bytes else '':>7}  {each.about}".rstrip())
        if each.about
        else Suggestion(each.value)
        for each in complete_source(text, workspace)
    ]
