"""Training steps beside transformers' GPT2LMHeadModel and a plain loop, and where the time of presets' steps goes:
`python -m benchmarks.training`.

Three shapes of GPT-2's form, float32 and bfloat16, forward, backward and fused AdamW on ready batches. A process for
each contender, in turn, medians of three rounds of some seconds. transformers runs as its users run it: a plain
loop, autocast where the precision is bfloat16; the plain loop (`benchmarks.plain`) with the allocator set to keep its
memory, as ours. Needs `transformers` (the bench extra).

Then the steps that presets really take: today's form, Muon, the numbers chosen for this machine, batches from a file of
tokens. A table says what part of each is forward and backward, what the optimisers', and what is left.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Figure, Measurement, interleaved, limits, options, report
from benchmarks.plain import Plain, adamw
from core.hardware import cores
from core.model.batches import Batches
from core.model.device import choose_device, keep_freed_memory
from core.model.gpt import GPT
from core.model.objectives import Objective
from core.model.weights import meta_device
from core.recipe.file import load
from core.recipe.schema import Model, Train
from core.runs.launch import child_environment, python_command
from core.storage.workspace import Workspace
from core.tokenize.shards import TokenStream, write_shard
from core.train.data_parallel import DataParallel
from core.train.optimizer import optimizers
from core.train.step import accumulate_gradients, optimizer_step, reduce_gradients

SECONDS = 6.0
"""Of steps in each round of each contender."""

Shape = tuple[int, int, int, int, int, int]
"""Layers, heads, width, block size, batch, vocabulary."""

SHAPES: dict[str, Shape] = {
    "a": (4, 4, 128, 64, 12, 65),  # nanoGPT's README run on a processor
    "b": (6, 6, 384, 256, 16, 4096),
    "c": (12, 12, 768, 256, 2, 50304),  # GPT-2 124M
}
AT_LEAST = {
    ("a", "bfloat16"): 2.2,
    ("b", "bfloat16"): 1.7,
    ("c", "bfloat16"): 1.8,
    ("a", "float32"): 1.25,
    ("b", "float32"): 1.25,
    ("c", "float32"): 1.25,
}
"""Times transformers' tokens a second."""
PLAIN = 1.0
"""Times the plain loop's tokens a second, in the smallest shape: there is no step too small for our own overhead."""
PRESETS = {"shakespeare": 65, "demo": None, "small": None}
"""Their vocabularies, where the text decides."""
PARTS = ("forward and backward", "optimisers", "rest")
SHARE = 0.7
"""Of the measured rate of bfloat16 products that shape b reaches at least."""

Step = Callable[[Tensor], object]


def gpt2(shape: Shape) -> Model:
    layers, heads, width, block, _, _ = shape
    return load(
        preset="gpt2",
        overrides=[
            f"model.{name}={value}"
            for name, value in zip(
                ("n_layer", "n_head", "n_embd", "block_size"), (layers, heads, width, block), strict=True
            )
        ],
    ).model


def ours(shape: Shape, precision: str) -> Step:
    keep_freed_memory()
    model = GPT(gpt2(shape), shape[-1], dtype=getattr(torch, precision))
    made = optimizers(model, Train(optimizer="adamw", lr=1e-3))

    def step(ids: Tensor) -> None:
        (model.loss(ids, ids).objective / ids.numel()).backward()  # type: ignore[no-untyped-call]
        for optimizer in made:
            optimizer.step()
        model.zero_grad(set_to_none=True)

    return step


def transformers(shape: Shape, precision: str) -> Step:
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    layers, heads, width, block, _, vocabulary = shape
    config = GPT2Config(
        n_layer=layers,
        n_head=heads,
        n_embd=width,
        n_positions=block,
        vocab_size=vocabulary,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step(ids: Tensor) -> None:
        short = precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16) if short else contextlib.nullcontext():
            loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def plain(shape: Shape, precision: str) -> Step:
    keep_freed_memory()
    layers, heads, width, block, _, vocabulary = shape
    model = Plain(layers, heads, width, block, vocabulary)
    optimizer = adamw(model)

    def step(ids: Tensor) -> None:
        short = precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16) if short else contextlib.nullcontext():
            loss = model(ids, ids)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


CONTENDERS: dict[str, Callable[[Shape, str], Step]] = {"ours": ours, "transformers": transformers, "plain": plain}


def one(contender: str, name: str, precision: str, seconds: str) -> None:
    """What `measured` runs: tokens a second, from the median step."""
    torch.set_num_threads(cores())
    shape = SHAPES[name]
    step = CONTENDERS[contender](shape, precision)
    ids = torch.randint(shape[-1], (shape[4], shape[3]))
    times: list[float] = []
    end = 0.0
    while len(times) < 5 or time.perf_counter() < end:
        began = time.perf_counter()
        step(ids)
        times.append(time.perf_counter() - began)
        if len(times) == 2:  # those were for the memory and the libraries to settle
            end = time.perf_counter() + float(seconds)
    times = sorted(times[2:])
    print(json.dumps({"rate": ids.numel() / times[len(times) // 2]}))


def preset(name: str, seconds: str) -> dict[str, float]:
    """Milliseconds of the median step of a preset and of its parts, and tokens a second."""
    keep_freed_memory()
    recipe = load(preset=name)
    vocabulary, block, batch = PRESETS[name] or recipe.tokenize.size, recipe.model.block_size, recipe.train.batch_size
    device = choose_device(recipe.train)
    model = GPT(recipe.model, vocabulary, dtype=device.dtype).to(device.torch)
    made, objective = optimizers(model, recipe.train, device.muon), Objective(recipe.train, mask_token_id=None)
    parallel = DataParallel(model)
    took: list[tuple[float, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder) / "tokens", [np.random.default_rng(0).integers(vocabulary, size=10**6).astype("u2")])
        stream = TokenStream([Path(folder) / "tokens"])
        batches = Batches(stream, block_size=block, batch_size=batch, seed=1)
        end = time.perf_counter() + float(seconds)
        while len(took) < 5 or time.perf_counter() < end:
            began = time.perf_counter()
            examples = objective(batches(len(took)), step=len(took), indices=range(batch))
            ready = time.perf_counter()
            nats = accumulate_gradients(parallel, examples, batch, recipe.train)
            passed = time.perf_counter()
            sums = reduce_gradients(parallel, nats, examples.count)
            added = time.perf_counter()
            optimizer_step(parallel, made, sums, recipe.train.grad_clip)
            now = time.perf_counter()
            took.append((now - began, passed - ready, now - added, ready - began + added - passed))
    medians = [1000 * float(median) for median in np.median(took[2:], axis=0)]
    return {"ms a step": medians[0], **dict(zip(PARTS, medians[1:], strict=True))} | {
        "tokens/s": 1000 * batch * block / medians[0]
    }


def measured(*arguments: str) -> Measurement:
    """One round in a process of its own, started as those that train are."""
    command, env = python_command("benchmarks.training", *arguments), child_environment(Workspace())
    answer: dict[str, float] = json.loads(subprocess.run(command, env=env, capture_output=True, check=True).stdout)
    return answer


def main() -> int:
    chosen = options(__doc__)
    seconds, rounds = (1.0, 1) if chosen.quick else (SECONDS, 3)
    figures = []
    for (name, precision), at_least in AT_LEAST.items():
        contenders = {each: partial(measured, each, name, precision, str(seconds)) for each in ("ours", "transformers")}
        results = interleaved(contenders, rounds)
        rate, theirs = results["ours"]["rate"], results["transformers"]["rate"]
        figures += [
            Figure(name=f"({name}) {precision}, transformers", value=theirs, unit="tokens/s"),
            Figure(
                name=f"({name}) {precision}, ours",
                value=rate,
                unit="tokens/s",
                at_least=at_least * theirs,
                ratio=rate / theirs,
            ),
        ]
        if (name, precision) == ("b", "bfloat16"):
            with meta_device():
                flops = GPT(gpt2(SHAPES[name]), SHAPES[name][-1]).flops_per_token()
            share = rate * flops / (1e9 * limits()["bfloat16 matmul GFLOP/s"])
            figures.append(
                Figure(name="(b) of the rate of products", value=100 * share, unit="%", at_least=100 * SHARE)
            )
    contenders = {each: partial(measured, each, "a", "float32", str(seconds)) for each in ("ours", "plain")}
    results = interleaved(contenders, rounds)
    rate, theirs = results["ours"]["rate"], results["plain"]["rate"]
    name = "(a) float32, ours beside a plain loop"
    figures.append(Figure(name=name, value=rate / theirs, unit="times", at_least=PLAIN, ratio=rate / theirs))
    table = interleaved({name: partial(measured, "preset", name, str(seconds)) for name in PRESETS}, rounds)
    return report(figures, chosen, table)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "preset":
        print(json.dumps(preset(*sys.argv[2:])))
    elif len(sys.argv) == 5 and sys.argv[1] in CONTENDERS:
        one(*sys.argv[1:])
    else:
        sys.exit(main())
