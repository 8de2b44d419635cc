"""What an alert says about a study, sanitised."""

from __future__ import annotations

from core.plural import plural
from core.tune.trials import best_trial
from llmtui.view.sanitize import shown
from llmtui.view.study_snapshot import StudySnapshot
from llmtui.view.units import cost


def study_notice(study: StudySnapshot, had_controller: bool, had_problem: bool) -> str:
    """What has happened to a study by itself, in one line; empty if nothing has, or the user did it.

    had_controller, had_problem: whether it had a controller, and a problem, before.
    """
    name, problem = f"study {study.name}", " ".join(study.problem.removeprefix("llmtui: ").split())
    if had_controller and study.state == "done":
        best = best_trial(study.trials)
        result = f"best {cost(best.bits_per_byte)} bits per byte" if best and best.bits_per_byte else "no result"
        return shown(f"✓ {name} done: {result} of {plural(len(study.trials), 'trial')}", 200)
    if had_controller and study.state == "stopped":
        by_hand = study.study is not None and study.study.stop_requested
        return "" if by_hand else shown(f"✗ {name} stopped: {problem or 'its controller has ended'}", 200)
    if problem and not had_problem and study.state == "running":
        return shown(f"‖ {name} needs attention: {problem}", 200)
    return ""
