"""`llmtui tune best`, `importance`, `slices`, `forecast` and `export`: what the trials of a study have shown."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from core.errors import DiskError, did_you_mean
from core.recipe.file import to_toml
from core.recipe.overrides import override
from core.runs.curves import Curves
from core.runs.summary import Summary
from core.storage.files import write_atomic
from core.tune.forecast import earlier_curves, forecast_final, remaining
from core.tune.front import front
from core.tune.full_run import full_limits, limit_changes
from core.tune.optuna_export import write_optuna_journal
from core.tune.repeats import lead
from core.tune.slices import improvements, slices
from core.tune.space import with_values
from core.tune.start import open_trial
from core.tune.tpe import MIN_TRIALS, importances
from core.tune.trials import best_trial
from llmtui.cli.commands.options import NAME, PathType, json_option
from llmtui.cli.commands.study_argument import StudyCommandError, open_study, study_argument, trial_numbered
from llmtui.cli.console import print_error, print_json, print_message, print_output, print_table
from llmtui.cli.study_output import trials_csv
from llmtui.view.study_text import (
    front_table,
    improvements_table,
    interval_text,
    lead_text,
    remaining_text,
    slice_table,
    trial_rows,
)
from llmtui.view.table import table
from llmtui.view.units import cost


@click.command("best", short_help="Print the best values, or save them as a recipe.")
@study_argument
@click.option("--save", type=PathType(), metavar="FILE", help="Write the recipe of the best trial to FILE.")
@click.option("--trial", "number", type=click.IntRange(1), metavar="N", help="Another trial than the best one.")
@json_option
def best_values(study_name: str | None, save: Path | None, number: int | None, as_json: bool) -> int:
    """Print the recipe of the best trial of STUDY as TOML.

    The best values are those with the lowest mean over their seeds. A lead over the next ones that is smaller than what
    another seed changes is said to be noise. Of a study with two objectives the front is listed, too: the trials that
    no other beats in both; --trial chooses another one than that with the fewest bits per byte.
    """
    _, study = open_study(study_name)
    trials = study.trials()
    best, found = best_trial(trials), lead(trials)
    if best is None or found is None:
        print_error(f"{study.id} has no result yet")
        return 1
    members = front(trials, study.file.second_objective) if study.file.second_objective else []
    if number is not None:
        best = trial_numbered(study, number)
        if best.bits_per_byte is None:
            raise StudyCommandError(f"trial {number} has no result", where=best.run_id)
    if as_json:
        noise = {"difference": found.difference if found.second else None, "noise": found.noise}
        record = {"study": study.id, "best": best, "mean": found.best.spread.mean, "seeds": found.best.spread.n}
        print_json(record | noise | {"is_noise": found.is_noise, "front": members})
        return 0
    recipe = msgspec.structs.replace(with_values(study.recipe, best.values), name=study.recipe.name)
    result = f"{cost(best.bits_per_byte or 0.0)} bits per byte"
    if study.file.second_objective:
        print_message(table(front_table(members, study.file.second_objective)))
    else:
        print_message(lead_text(found))
    text = f"# Trial {best.number} of study {study.id}, run {best.run_id}: {result}.\n{to_toml(recipe)}"
    if save is None:
        print_output(text, end="")
        return 0
    if save.exists():
        raise StudyCommandError("the file exists", where=str(save), todo="give another name")
    write_atomic(save.absolute(), text.encode())
    changes = limit_changes(recipe.train, full_limits(study))
    longer = "".join(f" --set {override(key, value)}" for key, value in changes.items())
    print_message(f"saved {save}; a full run: llmtui run {save}{longer}")
    return 0


@click.command("importance", short_help="Print which fields matter most.")
@study_argument
def field_importance(study_name: str | None) -> int:
    """Print the share of each field in what makes trials of STUDY good, by PED-ANOVA. Needs llmtui[tune]."""
    _, study = open_study(study_name)
    found = importances(study)
    if not found:
        print_error(f"{study.id} has fewer than {MIN_TRIALS} results")
        return 1
    for key, share in found.items():
        print_output(f"{key:<24} {100 * share:5.1f} %  {'#' * round(40 * share)}")
    return 0


@click.command("slices", short_help="Print the results by each field's values.")
@study_argument
@click.option("--field", "field_name", type=NAME, metavar="FIELD", help="Only this field.")
@json_option
def field_slices(study_name: str | None, field_name: str | None, as_json: bool) -> int:
    """Print the results of STUDY by the values of each field, and its best result over time.

    The other fields are as they were in each trial: a field that matters shows even so, one that does not makes no
    difference. With successive halving most trials have a result at a rung alone: there they are compared, and AT 11 %
    in the heading says where. With --json: one line for each field with all its trials, and one for each improvement.
    """
    _, study = open_study(study_name)
    trials = study.trials()
    found = slices(study.space, study.recipe, trials)
    known = [each.key for each in found]
    if field_name is not None and field_name not in known:
        todo = did_you_mean(field_name, known) or f"there is {', '.join(known)}"
        raise StudyCommandError(f"{field_name} does not vary in {study.id}", todo=todo if known else "")
    found = [each for each in found if field_name in (None, each.key)]
    if not found:
        print_error(f"{study.id} has no result yet")
        return 1
    shares = sorted({found[0].share, 1.0})
    if as_json:
        for each in found:
            print_json({"study": study.id, "slice": each})
        for share in shares:
            for improvement in improvements(trials, share):
                print_json({"study": study.id, "improvement": improvement._asdict() | {"share": share}})
        return 0
    tables = [slice_table(each) for each in found]
    tables += [improvements_table(best, share) for share in shares if (best := improvements(trials, share))]
    for index, rows in enumerate(tables):
        if index:
            print_output("")
        print_table(rows)
    return 0


@click.command("forecast", short_help="Predict the final losses, and the time that is left.")
@study_argument
@json_option
def forecast_study(study_name: str | None, as_json: bool) -> int:
    """Predict the final loss of each running trial of STUDY, and the time and cost of what is left.

    The power law L∞ + A·n^−α of the steps is fitted to the evaluations so far, with a 90 % interval. It knows nothing
    of the learning-rate schedule: one that decays ends below it. From two trials on that are done with the same
    schedule, what the forecast missed in those corrects it.
    """
    workspace, study = open_study(study_name)
    trials = study.trials()
    rows: list[tuple[str, ...]] = [("TRIAL", "PROGRESS", "BPB", "FORECAST (90 %)")]
    training: dict[int, Summary] = {}
    known: dict[str, Curves] = {}
    for trial in trials:
        run = open_trial(trial, workspace) if trial.ended is None and trial.paused is None else None
        if run is None:
            continue
        curves = run.curves()
        training[trial.number] = curves.summary
        if not run.state().is_active:
            continue
        metric, best = curves.summary.metric, curves.summary.headline_evaluation
        earlier = earlier_curves(trial, trials, workspace, known)
        found = forecast_final(curves, run.recipe.train.evaluate_tokens, earlier)
        if as_json:
            final = found and {
                "final": found.final,
                "source": found.source,
                "earlier": found.earlier,
                "law": found.fit.law._asdict(),
            }
            progress = metric.progress if metric else None
            print_json({"study": study.id, "trial": trial.number, "progress": progress, "forecast": final})
        share = f"{metric.progress:.0%}" if metric else ""
        bits = cost(best.bits_per_byte) if best else ""
        rows.append((str(trial.number), share, bits, interval_text(found.final) if found else "not yet"))
    left = remaining(study, trials, training)
    if as_json:
        print_json({"study": study.id, "remaining": left and left._asdict()})
        return 0
    if len(rows) > 1:
        print_table(rows)
    print_output(remaining_text(left) if left else "how long a trial takes is not known yet")
    return 0


@click.command("export", short_help="Write all trials as CSV, or for optuna-dashboard.")
@study_argument
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "optuna"]),
    default="csv",
    help="csv: a line for each trial. optuna: a journal storage, which `optuna-dashboard FILE` opens.",
)
@click.option("--output", type=PathType(), metavar="FILE", help="Default: standard output; needed for optuna.")
def export_study(study_name: str | None, kind: str, output: Path | None) -> None:
    """Write the trials of STUDY: result, values, seed, machine and versions of each."""
    workspace, study = open_study(study_name)
    if output is not None and output.exists():
        raise StudyCommandError("the file exists", where=str(output), todo="give another name")
    if kind == "optuna":
        if output is None:
            raise StudyCommandError("a storage of Optuna is a file", todo="give its name: --output study.log")
        try:
            write_optuna_journal(study, workspace, output.absolute())
        except OSError as error:
            raise DiskError.from_oserror(error, output) from None
        print_message(f"wrote {output}; optuna-dashboard {output} shows it")
        return
    text = trials_csv(trial_rows(study, workspace), workspace)
    if output is None:
        print_output(text, end="")
        return
    write_atomic(output.absolute(), text.encode())
    print_message(f"wrote {output}")
