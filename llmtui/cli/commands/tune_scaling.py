"""`llmtui tune scaling`: loss against compute over the sizes of models in one or several studies."""

from __future__ import annotations

import click

from core.tune.scaling import MIN_SIZES, Scaling, Suggestion, scaling
from core.tune.study import Study
from llmtui.cli.commands.options import NAME, json_option
from llmtui.cli.commands.study_argument import open_study
from llmtui.cli.console import print_error, print_json, print_output, print_table
from llmtui.view.study_text import count_interval, interval_text
from llmtui.view.units import cost, count, flops

FURTHER = 10.0
"""Times the largest compute of a trial: the budget that is suggested for if none is given."""


@click.command("scaling", short_help="Fit loss against compute, and suggest a size for a budget.")
@click.argument("study_names", type=NAME, metavar="[STUDY]...", nargs=-1)
@click.option(
    "--flops",
    "budgets",
    type=click.FloatRange(min=0, min_open=True),
    metavar="X",
    multiple=True,
    help="Suggest size and tokens for so many FLOPs; default: ten times those of the largest trial.",
)
@json_option
def scaling_law(study_names: tuple[str, ...], budgets: tuple[float, ...], as_json: bool) -> int:
    """Fit the loss of the best trials of one or several STUDIES against the FLOPs of their training.

    The best are those that no other beats with less compute. L∞ + A·C^−α is fitted to them, with 90 % intervals, and a
    power of C to their sizes. Studies with `flops` in their settings, each with another budget, give the best points.
    """
    studies: dict[str, Study] = {}
    for name in study_names or (None,):
        study = open_study(name)[1]
        studies[study.id] = study
    found = scaling((study.id, study.trials()) for study in studies.values())
    if not found.points:
        print_error("no trial is done whose compute is known")
        return 1
    suggestions = [found.suggest(budget) for budget in budgets or (FURTHER * found.points[-1].flops,)]
    if as_json:
        for point in found.points:
            print_json({"point": point._asdict(), "frontier": point in found.frontier})
        if found.fit is not None:
            print_json({"law": found.fit.law._asdict(), "exponent": found.fit.exponent()})
        for suggestion in suggestions:
            if suggestion is not None:
                print_json({"suggestion": suggestion})
        return 0
    _print(found, [suggestion for suggestion in suggestions if suggestion], several=len(studies) > 1)
    return 0


def _print(found: Scaling, suggestions: list[Suggestion], *, several: bool) -> None:
    rows: list[tuple[str, ...]] = [("TRIAL", "FLOPS", "PARAMETERS", "TOKENS", "BPB")]
    for point in found.points:
        name = f"{point.study} {point.number}" if several else str(point.number)
        mark = "*" if point in found.frontier else ""
        sizes = (flops(point.flops), count(point.parameters), count(point.tokens), cost(point.bits_per_byte))
        rows.append((name + mark, *sizes))
    print_table(rows)
    if found.fit is None:
        print_output(f"* the best at their compute: {len(found.frontier)}, too few for a law")
        return
    law, alpha = found.fit.law, found.fit.exponent()
    print_output(
        f"bits per byte = L∞ + A·C^−α: L∞ {law.limit:.3f}, α {alpha.value:.3f} ({alpha.low:.3f} – {alpha.high:.3f})"
    )
    for suggestion in suggestions:
        text = f"{flops(suggestion.flops)} FLOPs: {interval_text(suggestion.bits_per_byte)} bits per byte"
        if suggestion.parameters and suggestion.tokens:
            text += f", with {count_interval(suggestion.parameters)} parameters"
            text += f" and {count_interval(suggestion.tokens)} tokens"
        else:
            text += f"; a size is suggested where the best have {MIN_SIZES} sizes"
        print_output(text)
