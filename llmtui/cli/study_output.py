"""Print a study and its trials, and follow it until it ends."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence

from core.storage.workspace import Workspace
from core.tune.optuna_export import origin_of_trial
from core.tune.repeats import lead
from core.tune.study import Study
from core.tune.trials import Trial, TrialPaused, best_trial
from llmtui.cli.console import print_error, print_message, print_table
from llmtui.view.study_text import TrialRow, counts_text, lead_text, study_state, trial_rows, trials_table, values_text
from llmtui.view.units import cost

POLL_SECONDS = 1.0
"""How often a study that is followed is read."""


def follow_study(study: Study, workspace: Workspace) -> int:
    """Print the trials of a study as they reach rungs and end, until it does, and then all; returns the exit code."""
    code = wait_for_study(study, workspace)
    print_study(study, workspace)
    if code:
        print_message(f"{study.id} has stopped; llmtui tune resume continues it; the log says more: {study.log}")
    return code


def wait_for_study(study: Study, workspace: Workspace) -> int:
    """Print the trials of a study as they reach rungs and end, until it does; returns the exit code."""
    trials = study.trials()
    printed = {trial.number for trial in trials if trial.ended}
    rungs = {(trial.number, rung.share) for trial in trials for rung in trial.rungs}
    while True:
        is_active = study.controller() is not None
        rows = trial_rows(study, workspace)
        for row in rows:
            for rung in row.trial.rungs:
                if (row.trial.number, rung.share) not in rungs:
                    rungs.add((row.trial.number, rung.share))
                    print_message(_rung_text(row.trial, rung))
            if row.trial.ended and row.trial.number not in printed:
                printed.add(row.trial.number)
                print_message(_ended_text(row))
        if not is_active:
            break
        time.sleep(POLL_SECONDS)
    return 0 if study.is_done() else 3


def _rung_text(trial: Trial, rung: TrialPaused) -> str:
    result = f"{cost(rung.bits_per_byte)} bits per byte after {100 * rung.share:.0f} %"
    return f"trial {trial.number}  {result}  {values_text(trial.values)}"


def _ended_text(row: TrialRow) -> str:
    values = values_text(row.trial.values)
    ended = row.trial.ended
    bits = "" if row.trial.bits_per_byte is None else f"{cost(row.trial.bits_per_byte)} bits per byte"
    return f"trial {row.trial.number}  {bits or row.state}  {values}" + (f"  {ended.reason}" if ended else "").rstrip()


def print_study(study: Study, workspace: Workspace) -> None:
    """Print the trials, the best first, and the state of the study."""
    rows = trial_rows(study, workspace)
    print_table(trials_table(rows, study.file.second_objective))
    print_message(f"{study.id}: {study_state(study)}; {counts_text(rows)}")
    if study.problem:
        print_error(study.problem)
    if found := lead([row.trial for row in rows]):
        print_message(lead_text(found))
    if best_trial([row.trial for row in rows]):
        print_message(f"the best as a recipe: llmtui tune best {study.id} --save best.toml")


_FACTS = ("number", "run", "state", "bits_per_byte", "seconds", "tokens_per_second", "parameters", "tokens", "flops")
_ORIGIN = ("machine", "device", "torch", "version", "commit")


def trials_csv(rows: Sequence[TrialRow], workspace: Workspace) -> str:
    """The trials as CSV: results, seed, machine and versions, and a column for each field that varies."""
    keys = list(dict.fromkeys(key for row in rows for key in row.trial.values))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_FACTS, "seed", "reason", *_ORIGIN, *keys])
    for row in rows:
        ended, origin = row.trial.ended, origin_of_trial(row.trial, workspace)
        facts = [ended.tokens_per_second, ended.parameters, ended.tokens, ended.flops] if ended else [None] * 4
        where = [origin.host, origin.device, origin.torch, origin.version, origin.commit] if origin else [None] * 5
        writer.writerow(
            [row.trial.number, row.trial.run_id, row.state, row.bits_per_byte, row.seconds, *facts, row.trial.seed]
            + [ended.reason if ended else "", *where]
            + [row.trial.values.get(key) for key in keys]
        )
    return out.getvalue()
