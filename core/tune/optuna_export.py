"""The trials of a study as a journal storage of Optuna, which optuna-dashboard opens. Needs Optuna."""

from __future__ import annotations

import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

from core.runs.origin import Origin, origin_of
from core.storage.files import replacing
from core.storage.workspace import Workspace
from core.tune.start import open_trial
from core.tune.study import Study
from core.tune.tpe import as_optuna, load_optuna
from core.tune.trials import Trial


def origin_of_trial(trial: Trial, workspace: Workspace) -> Origin | None:
    """Machine, device and versions of a trial's run; None if the run is gone."""
    run = open_trial(trial, workspace)
    if run is None:
        return None
    curves = run.curves()
    return origin_of(run, curves.summary, curves.newest())


def write_optuna_journal(study: Study, workspace: Workspace, path: Path) -> None:
    """Write all trials to `path`; `optuna-dashboard PATH` shows them. Raises OptunaMissingError, OSError.

    Each trial has its seed, machine and versions among its user attributes. A trial that has not ended is running.
    """
    optuna = load_optuna()
    from optuna.storages.journal import JournalFileBackend

    second = study.file.second_objective
    maximised = second == "tokens_per_second"
    with replacing(path) as staged:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(staged)))
        directions = ["minimize", *([] if second is None else ["maximize" if maximised else "minimize"])]
        written = optuna.create_study(study_name=study.id, storage=storage, directions=directions)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # since version 3.2
            written.set_metric_names(["bits per byte", *([] if second is None else [second.replace("_", " ")])])
        for trial in study.trials():
            known = as_optuna(optuna, study.space, study.recipe, trial, second)
            if maximised and known.values is not None:
                known.values = [known.values[0], -known.values[1]]
            known.user_attrs = _attributes(trial, origin_of_trial(trial, workspace))
            known.datetime_start = datetime.fromtimestamp(trial.created_at)
            if trial.ended:
                known.datetime_complete = datetime.fromtimestamp(trial.ended.at)
            elif known.state.is_finished():  # it waits at a rung
                known.datetime_complete = datetime.fromtimestamp(trial.rungs[-1].at)
            written.add_trial(known)


def _attributes(trial: Trial, origin: Origin | None) -> dict[str, Any]:
    """What is known of a trial besides its values and results."""
    found: dict[str, Any] = {"run": trial.run_id, "trial": trial.number, "seed": trial.seed, "origin": trial.origin}
    if trial.ended:
        ended = trial.ended
        found |= {"outcome": ended.outcome, "reason": ended.reason, "seconds": ended.seconds, "flops": ended.flops}
        found |= {"tokens": ended.tokens, "tokens per second": ended.tokens_per_second, "parameters": ended.parameters}
    if origin:
        found |= {"machine": origin.host, "device": origin.device, "PyTorch": origin.torch}
        found |= {"llmtui": origin.version, "commit": origin.commit, "data": " ".join(origin.data)}
    return {name: value for name, value in found.items() if value not in (None, "")}
