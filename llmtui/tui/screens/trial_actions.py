"""What the keys of the screen of a study do with its trials."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from core.plural import plural
from core.recipe.overrides import toml_value
from core.runs.control import request_stop as request_stop_of_run
from core.tune.full_run import full_limits, limit_changes
from core.tune.space import Values, with_values
from core.tune.start import another_seed, move_waiting, request_drop, request_promotion, request_trial, waiting_trials
from core.tune.study import Study
from core.tune.trials import best_trial
from llmtui.tui.screens.study_actions import StudyActions
from llmtui.tui.screens.workbench_screen import show_screen
from llmtui.view.study_table import is_active


class TrialActions(StudyActions):
    """They act on the highlighted row of the table."""

    def action_study_open(self) -> None:
        row, snapshot = self.highlighted, self.snapshot
        if row is not None and snapshot is not None:
            self.session.select(snapshot.run)
            show_screen(self.app, "train")
        elif row is not None:
            self.show_notice(f"The run of trial {row.trial.number} is gone or cannot be read.", "warn")

    def action_study_insert(self) -> None:
        self._ask_for_trial("Insert a trial", {})

    def action_study_clone(self) -> None:
        row = self.highlighted
        if row is None:
            self.show_notice("There is no trial to clone.", "warn")
        else:
            self._ask_for_trial(f"Insert a trial like trial {row.trial.number}", row.trial.values)

    def _ask_for_trial(self, title: str, values: Values) -> None:
        from llmtui.tui.screens.study_dialogs import TrialValues

        study = self.known_study("insert a trial into")
        if study is None:
            return

        def on_values(chosen: Values | None) -> None:
            if chosen is not None:
                self._insert(study, chosen, another_seed if values and chosen == values else None)

        self.app.push_screen(TrialValues(title, study.recipe, values), on_values)

    def _insert(self, study: Study, values: Values, seed: Callable[[Study, Values], int] | None) -> None:
        """seed: gives that of the trial; None: that of the recipe."""
        later = "." if self.has_controller else "; r continues the study."

        def insert() -> str:
            before = len(waiting_trials(study))
            request_trial(study, values, seed(study, values) if seed else None)
            when = f"waits behind {plural(before, 'other')}" if before else "is the next one"
            return f"The trial {when}{later}"

        self.change(insert)

    def action_study_retry(self) -> None:
        row, study = self.highlighted, self.known_study("try a trial again of")
        if study is None:
            return
        if row is None or row.trial.ended is None or row.trial.bits_per_byte is not None:
            self.show_notice("Only a trial that ended without a result is tried again; c clones it.", "warn")
            return
        trial = row.trial
        self._insert(study, trial.values, lambda _study, _values: trial.seed)

    def action_study_earlier(self) -> None:
        self._move(-1)

    def action_study_later(self) -> None:
        self._move(1)

    def _move(self, places: int) -> None:
        place, waiting = self.waiting_place, list(self.study.waiting) if self.study else []
        if place is None:
            self.show_notice("Only an inserted trial that waits has a place in the queue.", "warn")
        elif 0 <= place + places < len(waiting):
            self.change(lambda: move_waiting(waiting, place, place + places), f"It has place {place + places + 1}.")

    def action_study_promote(self) -> None:
        row, study = self.highlighted, self.known_study("promote a trial of")
        if study is None:
            return
        if row is None or row.trial.paused is None:
            self.show_notice("Only a trial that waits at a rung can be promoted.", "warn")
            return
        number = row.trial.number
        notice = f"Trial {number} is the next one to train further" + (
            "." if self.has_controller else "; r continues it."
        )
        self.change(lambda: request_promotion(study, number), notice)

    def action_study_drop(self) -> None:
        row, snapshot, study = self.highlighted, self.snapshot, self.known_study("drop a trial of")
        if study is not None and self.study and (place := self.waiting_place) is not None:
            path, _ = self.study.waiting[place]
            self.change(lambda: path.unlink(missing_ok=True), "The trial is out of the queue.")
            return
        if row is None or study is None:
            self.show_notice("There is no trial to drop.", "warn")
            return
        number, waits = row.trial.number, row.trial.paused is not None
        if not waits and (snapshot is None or not is_active(row, snapshot)):
            self.show_notice(f"Trial {number} is not running: nothing to drop.", "warn")
            return
        from llmtui.tui.screens.dialogs import Confirm

        def drop() -> None:
            if waits or snapshot is None:
                request_drop(study, number)
            else:
                request_stop_of_run(snapshot.run)

        def on_answer(yes: bool | None) -> None:
            if yes:
                self.change(drop, f"Trial {number} {'is dropped' if waits else 'stops'}.")

        question = f"Drop trial {number}? Its result will not count; the study continues with the next one."
        self.app.push_screen(Confirm(question, yes="drop it", no="keep it"), on_answer)

    def action_study_best(self) -> None:
        study, best = self.known_study("take the best trial of"), best_trial([row.trial for row in self.rows])
        if study is None:
            return
        if best is None:
            self.show_notice(f"{study.name} has no result yet.", "warn")
            return
        from llmtui.tui.screens.save_recipe import SaveRecipe

        recipe = replace(with_values(study.recipe, best.values), name=study.name)
        self.app.push_screen(SaveRecipe(recipe), lambda path: self._set_up_best(study, best.run_id) if path else None)

    def _set_up_best(self, study: Study, run_id: str) -> None:
        """Show the form of a run like the best trial, with as many threads as usual and the limits of a full run."""
        run = next((each.run for each in self.session.watcher.snapshots if each.run.id == run_id), None)
        if run is None:
            self.show_notice("Saved. The run of the best trial is gone: `llmtui run` takes the file.", "warn")
            return
        form = self.session.draft("like", run)
        if run.recipe.train.threads is not None:
            form.texts.setdefault("train.threads", "")
        full = full_limits(study)
        for key, value in limit_changes(run.recipe.train, full).items():
            form.texts.setdefault(key, "" if value is None else toml_value(value))
        length = " or ".join(f"{f'{limit:,}'.removesuffix('.0')} {unit}" for unit, limit in full.items())
        self.show_form(form, f"Saved. This run trains for {length}; a trial was shorter. ^r starts it.")
