"""What the user can do next with a run, or why it failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.run_names import name_of_run
from core.runs.directory import RunState
from llmtui.view import run_text, units
from llmtui.view.queue_text import queue_reason
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown

Advice = list[tuple[str, str]]
"""Sentences, each with its role."""


def next_steps(snapshot: RunSnapshot, screens: Mapping[str, str], snapshots: Sequence[RunSnapshot] = ()) -> Advice:
    """What matters most first.

    screens: the keys that show the screens, by the names of the screens. snapshots: of all runs, for one that waits.
    """
    if snapshot.state is RunState.QUEUED:
        host = shown(snapshot.run.host, 20)
        return [
            (f"Waits in the queue{f' of {host}' if host else ''}: {queue_reason(snapshot, snapshots)}.", ""),
            (f"{'' if host else 'K and J change its place, '}S starts it now beside the others", "dim"),
            *_note(snapshot),
        ]
    return [
        *_of_state(snapshot, screens),
        *_results(snapshot),
        *_trial(snapshot, screens),
        *_note(snapshot),
        *_screens(snapshot, screens),
        *_step_notes(snapshot),
    ]


def _of_state(snapshot: RunSnapshot, screens: Mapping[str, str]) -> Advice:
    saved = snapshot.summary.saved
    if snapshot.stall:
        text = run_text.stall_text(snapshot.stall)
        why = "a process of it may hang, or wait for another one" if snapshot.run.processes > 1 else "it may hang"
        log = f"{screens['logs']} shows its log; " if "logs" in screens else ""
        there = f"on {shown(snapshot.run.host, 20)}, " if snapshot.run.host else ""
        resumes = f"r then resumes from step {saved.step:,}" if saved else "r then starts it again"
        return [
            (f"{text[0].upper()}{text[1:]}: {why}, or the machine is short of memory or disk.", "warn"),
            ("Nothing was ended: it continues if it can.", ""),
            (f"{log}{there}llmtui stop --now {snapshot.run.id} ends it, {resumes}", "dim"),
        ]
    if snapshot.state in (RunState.FAILED, RunState.INTERRUPTED):
        what, kept, todo = run_text.failure(snapshot)
        lines = [(part, role) for part, role in ((what, "bad"), (kept, ""), (todo, "")) if part]
        resume = f"r resumes from {f'step {saved.step:,}' if saved else 'the last finished stage'}"
        return [*lines, (resume + (f"; {screens['logs']} shows its log" if "logs" in screens else ""), "dim")]
    if snapshot.state is RunState.UNREACHABLE:
        host = snapshot.run.host
        return [
            (f"No connection to {host}: what it does is not known. What is shown is from before.", "warn"),
            (f"llmtui hosts show {host} says why; llmtui hosts connect {host} connects again", "dim"),
        ]
    if snapshot.state is RunState.CREATED:
        return [("Not started yet: r starts it.", "")]
    if snapshot.ending:
        return [("It has ended; its process is about to exit.", "")]
    if snapshot.state is RunState.STARTING:
        return [("Its process is starting.", "")]
    if snapshot.state is RunState.PAUSED:
        return [("Waits with everything in memory; space continues it.", "")]
    if snapshot.state is RunState.STOPPED:
        resumes = f"r resumes from {f'step {saved.step:,}' if saved else 'the start'}"
        return [*_ended_by(snapshot), (resumes, "")]
    return _ended_by(snapshot)


def _ended_by(snapshot: RunSnapshot) -> Advice:
    by = run_text.ended_by(snapshot)
    return [(f"A rule of its recipe ended it: {by}.", "warn")] if by else []


def _results(snapshot: RunSnapshot) -> Advice:
    evaluation = snapshot.summary.headline_evaluation
    if evaluation is None:
        return []
    baselines = [
        f"{shown(name, 20)} {units.cost(bits)}" for name, bits in sorted(snapshot.summary.compression_baselines.items())
    ]
    beside = f"; {', '.join(baselines)}" if baselines else ""
    of = "on the held-out text" if evaluation.final else f"at best, step {evaluation.step:,}"
    return [(f"{run_text.bits(evaluation)} bits per byte {of}{beside}", "")]


def _trial(snapshot: RunSnapshot, screens: Mapping[str, str]) -> Advice:
    trial = snapshot.run.file.study
    if trial is None:
        return []
    where = f"; {screens['compare']} and S show it" if "compare" in screens else ""
    return [(f"Trial {trial.number} of the study {shown(name_of_run(trial.id), 64)}{where}", "")]


def _screens(snapshot: RunSnapshot, screens: Mapping[str, str]) -> Advice:
    saved, active = snapshot.summary.saved, snapshot.state.is_active and not snapshot.ending
    if not saved and not active:
        return []
    parts = ["enter shows it" if active else "enter shows its curves"]
    if saved:
        parts.append(
            f"{screens['chat']} chats with step {saved.step:,}" + (" now, training continues" if active else "")
        )
    if saved and not active and "model" in screens:
        parts.append(f"{screens['model']} shows the model")
    if snapshot.state is RunState.DONE:
        parts.append("n a run of your own")
    return [("; ".join(parts), "dim")]


def _note(snapshot: RunSnapshot) -> Advice:
    note = snapshot.annotations.note
    return [(f"note: {_one_line(note)}", "")] if note else []


def _step_notes(snapshot: RunSnapshot) -> Advice:
    notes = snapshot.annotations.step_notes
    return [(f"note on step {step:,}: {_one_line(text)}", "") for step, text in notes.items()]


def _one_line(text: str) -> str:
    return shown(" ".join(text.split()))
