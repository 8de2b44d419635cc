"""Two processes with a core each beside one process with two threads: `python -m benchmarks.distributed`.

A model of 14 million parameters, Muon and AdamW, the same batch: 32 sequences of 256 tokens, float32. One round of each
in turn. Told are tokens a second, and of the steps of two processes the share in which they wait for each other's
gradients: what the backward pass does not hide.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from functools import partial

import torch

from benchmarks.harness import Figure, Measurement, interleaved, options, report
from core.model.device import keep_freed_memory
from core.model.gpt import GPT
from core.model.objectives import next_token
from core.recipe.schema import Model, Train
from core.runs.launch import child_environment, python_command
from core.storage.workspace import Workspace
from core.train.data_parallel import DataParallel
from core.train.distributed import ProcessGroup
from core.train.optimizer import optimizers
from core.train.step import accumulate_gradients, optimizer_step, reduce_gradients

MODEL = Model(n_layer=6, n_head=6, n_embd=384, block_size=256)
VOCABULARY = 4096
BATCH = 32
SECONDS = 20.0
AT_LEAST = 0.95
"""Times the tokens a second of one process with two threads."""
PARTS = ("forward and backward", "waiting for gradients", "optimisers")


def steps(seconds: str) -> None:
    """What a process of either contender runs; rank 0 prints what it found."""
    keep_freed_memory()
    torch.set_num_threads(2 // int(os.environ.get("WORLD_SIZE", "1")))
    with ProcessGroup.join("cpu") as group:
        torch.manual_seed(1)
        model, recipe = GPT(MODEL, VOCABULARY), Train()
        parallel, made = DataParallel(model, group), optimizers(model, recipe, torch.float32, group)
        ids = torch.randint(VOCABULARY, (BATCH, MODEL.block_size + 1), generator=torch.Generator().manual_seed(1))
        batch = next_token(ids[group.rank :: group.world_size])
        took: list[tuple[float, float, float]] = []
        end = time.perf_counter() + float(seconds)
        while group.all_gather(len(took) < 5 or time.perf_counter() < end)[0][0]:
            began = time.perf_counter()
            nats = accumulate_gradients(parallel, batch, BATCH, recipe)
            passed = time.perf_counter()
            totals = reduce_gradients(parallel, nats, batch.count)
            summed = time.perf_counter()
            optimizer_step(parallel, made, totals, recipe.grad_clip)
            took.append((passed - began, summed - passed, time.perf_counter() - summed))
        if group.is_main:
            parts = [statistics.median(part) for part in zip(*took[2:], strict=True)]
            step = statistics.median(sum(one) for one in took[2:])
            rate = {"tokens/s": BATCH * MODEL.block_size / step, "ms a step": 1000 * step}
            print(json.dumps(rate | {name: 1000 * part for name, part in zip(PARTS, parts, strict=True)}))


def measured(processes: int, seconds: float) -> Measurement:
    arguments = ("benchmarks.distributed", "steps", str(seconds))
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m")
    command = python_command(*arguments) if processes == 1 else python_command(*torchrun, *arguments)
    env = child_environment(Workspace()) | {"OMP_NUM_THREADS": str(2 // processes)}
    answer: dict[str, float] = json.loads(subprocess.run(command, env=env, capture_output=True, check=True).stdout)
    return answer


def main() -> int:
    chosen = options(__doc__)
    seconds, rounds = (2.0, 1) if chosen.quick else (SECONDS, 3)
    names = {1: "one process, two threads", 2: "two processes, a core each"}
    found = interleaved({name: partial(measured, count, seconds) for count, name in names.items()}, rounds)
    one, two = (found[name] for name in names.values())
    ratio = two["tokens/s"] / one["tokens/s"]
    share = 100 * two[PARTS[1]] / two["ms a step"]
    figures = [
        Figure(name="two processes beside one", value=ratio, unit="times", at_least=AT_LEAST, ratio=ratio),
        Figure(name="waiting for gradients, of the step of two", value=share, unit="%"),
    ]
    return report(figures, chosen, found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["steps"]:
        steps(sys.argv[2])
    else:
        sys.exit(main())
