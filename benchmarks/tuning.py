"""Whether a study finds a better recipe, and what it costs: `python -m benchmarks.tuning --text input.txt`.

Tiny Shakespeare by characters, from nanoGPT's configuration for a processor (4 layers, 4 heads, 128 channels, block 64,
batch 12), with the space that a study has without one of its own. Trials train for up to 30 seconds; a study has 3
minutes of all cores, one trial for each, with one thread. For each of five seeds: the best recipe of a study with TPE
and successive halving, that of a random search with the same budget, and the start, each trained for 30 seconds by
itself. Bits per byte are over all held-out text.

While a study runs: the processor time and memory of its controller. Then: the processor time of listing 1,000 trials;
and how fast two trials train at once with one thread each, with two threads each, and one by itself with two.

--quick: one seed, and a study of one minute. Without --text nothing is trained; only the list of trials is measured.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import msgspec
import psutil

from benchmarks.harness import LLMTUI, Figure, Measurement, home, interleaved, options, report
from benchmarks.quality import AS_NANOGPT, ran
from core.hardware import cores
from core.recipe.file import load, to_toml
from core.storage.workspace import Workspace
from core.tune.default_space import default_space
from core.tune.halving import rungs
from core.tune.lookup import find_study
from core.tune.study import Study
from core.tune.study_file import Scheduler, StudyFile
from core.tune.trials import TrialCreated, TrialEnded, TrialPaused

SEEDS = range(1, 6)
TRIAL_MINUTES, STUDY_MINUTES, QUICK_MINUTES = 0.5, 3.0, 1.0
LISTED = 1_000
THREADS_SECONDS = 10

TPE = {"sampler": "tpe" if find_spec("optuna") else "random", "scheduler": "asha"}
RANDOM = {"sampler": "random", "scheduler": "none"}


def write_recipe(path: Path, text: Path) -> Path:
    """nanoGPT's configuration with a limit of time instead of steps."""
    settings = [f"{key}={value}" for key, value in AS_NANOGPT.items() if key != "train.steps"]
    settings += [f"source.corpus={text}", f"train.minutes={TRIAL_MINUTES}", "name=nanogpt"]
    path.write_text(to_toml(load(preset="shakespeare", overrides=settings)))
    return path


def best_of_study(recipe: Path, seed: int, minutes: float, settings: dict[str, str]) -> tuple[Path, Measurement]:
    """The best recipe of a study, and what its controller has cost. minutes: of all cores."""
    flags = [part for key, value in settings.items() for part in (f"--{key}", value)]
    budget = ["--minutes", str(cores() * minutes), "--parallel", str(cores()), "--seed", str(seed)]
    _llmtui("tune", str(recipe), *budget, *flags, "--detach")
    study = Study.open(find_study(Workspace()))
    cost = watch(study)
    best = recipe.with_name(f"{study.id}.toml")
    _llmtui("tune", "best", study.id, "--save", str(best))
    print(f"{settings['sampler']}, {settings['scheduler']}, seed {seed}:", _states(study), file=sys.stderr)
    return best, cost


def watch(study: Study) -> Measurement:
    """Wait until the study has ended; share of a core and memory of its controller meanwhile."""
    started, seconds, memory = time.monotonic(), 0.0, 0
    while (pid := study.controller()) is not None:
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            seconds, memory = times.user + times.system, max(memory, process.memory_info().rss)
        except psutil.Error:
            break
        time.sleep(0.5)
    wall = time.monotonic() - started
    return {"core %": 100 * seconds / wall, "MB": memory / 1e6, "seconds": wall}


def _states(study: Study) -> str:
    trials = study.trials()
    done = sum(trial.bits_per_byte is not None for trial in trials)
    return f"{len(trials)} trials, {sum(len(trial.rungs) for trial in trials)} at rungs, {done} done"


def _llmtui(*arguments: str) -> str:
    return subprocess.run([*LLMTUI, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def quality(recipe: Path, quick: bool) -> tuple[list[Figure], dict[str, Measurement]]:
    table: dict[str, Measurement] = {}
    costs: list[Measurement] = []
    minutes = QUICK_MINUTES if quick else STUDY_MINUTES
    for seed in SEEDS[:1] if quick else SEEDS:
        found, cost = best_of_study(recipe, seed, minutes, TPE)
        by_chance, _ = best_of_study(recipe, seed, minutes, RANDOM)
        costs.append(cost)
        recipes = {"start": recipe, "study": found, "random": by_chance}
        results = {name: float(ran(path, **{"train.seed": seed})["bits_per_byte"]) for name, path in recipes.items()}
        table[f"seed {seed}"] = results | {"s of study": cost["seconds"]}
        print(f"seed {seed}:", results, file=sys.stderr)
    gains = [row["start"] - row["study"] for row in table.values()]
    ahead = statistics.mean(row["random"] - row["study"] for row in table.values())
    return [
        Figure(name="study beats the start, least of all seeds", value=min(gains), unit="bits/byte", at_least=0.0),
        Figure(name="study beats random search, mean", value=ahead, unit="bits/byte", at_least=0.0),
        Figure(name="controller", value=max(cost["core %"] for cost in costs), unit="% of a core", at_most=1.0),
        Figure(name="controller's memory", value=max(cost["MB"] for cost in costs), unit="MB", at_most=150),
    ], table


def listing() -> list[Figure]:
    """The processor time of `llmtui tune show` of 1,000 trials, most of which wait at rungs."""
    recipe = load(preset="shakespeare", overrides=["source.corpus=stdlib"])
    scheduler, rng = Scheduler(kind="asha"), random.Random(1)
    file = StudyFile(space=default_space(recipe), trials=LISTED, scheduler=scheduler)
    study = Study.create(Workspace().prepare(), recipe, file)
    lines = []
    for number in range(1, LISTED + 1):
        values = study.space.sample(rng, recipe)
        events: list[TrialCreated | TrialPaused | TrialEnded] = [
            TrialCreated(number=number, run_id=f"r{number}", values=values, seed=1, stop_at=rungs(scheduler)[0]),
            TrialPaused(number=number, share=rungs(scheduler)[0], bits_per_byte=2 + rng.random(), seconds=3.3),
        ]
        if number % 10 == 0:
            events.append(TrialEnded(number=number, outcome="done", bits_per_byte=2 + rng.random(), seconds=30))
        lines += [msgspec.json.encode(event) + b"\n" for event in events]
    study.journal.write_bytes(b"".join(lines))

    def seconds() -> Measurement:
        started = sum(os.times()[2:4])  # processor time of child processes
        shown = _llmtui("tune", "show", study.id)
        assert len(shown.splitlines()) == LISTED + 1
        return {"seconds": sum(os.times()[2:4]) - started}

    found = interleaved({"show": seconds}, rounds=5)["show"]["seconds"]
    return [Figure(name=f"tune show of {LISTED:,} trials", value=found, unit="s", at_most=0.5)]


def threads(recipe: Path, quick: bool) -> list[Figure]:
    """Tokens per second of one trial by itself with all cores, and of as many as cores with one thread or all each."""

    def speed(at_once: int, count: int) -> Measurement:
        limits = ["--set", f"train.threads={count}", "--set", f"train.minutes={THREADS_SECONDS / 60}"]
        command = [*LLMTUI, "run", str(recipe), "--share", *limits]
        before = set(Workspace().runs.iterdir())
        pipe = subprocess.PIPE
        running = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(at_once)]
        for process in running:
            _, errors = process.communicate()
            if process.returncode:
                raise RuntimeError(errors)
        total = 0.0
        for path in set(Workspace().runs.iterdir()) - before:
            metric = msgspec.json.decode((path / "status.json").read_bytes())["metric"]
            total += metric["tokens"] / metric["seconds"]
        return {"tokens/s": total}

    all_of_them = cores()
    found = interleaved(
        {
            "alone": lambda: speed(1, all_of_them),
            "one thread": lambda: speed(all_of_them, 1),
            "all threads": lambda: speed(all_of_them, all_of_them),
        },
        rounds=1 if quick else 3,
    )
    alone = found["alone"]["tokens/s"]
    print("tokens/s:", found, file=sys.stderr)
    names = {
        "alone": f"one trial, {all_of_them} threads",
        "one thread": f"{all_of_them} trials at once, one thread each",
        "all threads": f"{all_of_them} trials at once, {all_of_them} threads each",
    }
    return [
        Figure(name=name, value=found[key]["tokens/s"], unit="tokens/s", ratio=found[key]["tokens/s"] / alone)
        for key, name in names.items()
    ]


def main() -> int:
    chosen = options(__doc__)
    table: dict[str, Measurement] = {}
    with home() as directory:
        figures = listing()
        if chosen.text is not None:
            recipe = write_recipe(directory / "nanogpt.toml", chosen.text.resolve())
            figures += threads(recipe, chosen.quick)
            found, table = quality(recipe, chosen.quick)
            figures += found
        else:
            print("without --text, nothing is trained", file=sys.stderr)
    return report(figures, chosen, table)


if __name__ == "__main__":
    sys.exit(main())
