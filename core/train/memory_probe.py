"""Micro-batch, memory and speed of a training, measured before its first step."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psutil
import torch
from torch.optim import Optimizer

from core.errors import is_out_of_memory
from core.events import TrainingForecast
from core.hardware import available_memory, peak_memory, reset_peak_memory
from core.model.count import parameters
from core.model.device import Device
from core.model.gpt import GPT
from core.model.memory import memory
from core.model.memory_fit import MARGIN, MemoryBudget, largest_micro_batch, required_bytes, suggest_changes
from core.plural import plural
from core.recipe.schema import Recipe, Train
from core.train.distributed import ProcessGroup
from core.train.out_of_memory import TrainingMemoryError, halve_on_out_of_memory
from core.train.schedule import limits
from core.train.training_estimate import PassTimings, estimate_training

MAX_PROBE_SHARE = 0.03
"""Share of the training that the measurement may take."""

MIN_SECONDS_TO_COMPILE = 300.0
"""Duration of a training from which compilation pays on a GPU: it takes about a minute and saves a third of a step."""

MIN_PROBE_SECONDS = 0.5
"""Seconds that the measurement may take however short the training is."""


def memory_budget(device: Device, share: float = 1.0, processes: int = 1, shards: int = 1) -> MemoryBudget:
    """Free memory for a training on `device` before its model exists.

    share: of the free memory. processes: number of ranks on this machine; they share its memory, but not a GPU.
    shards: number of ranks that have a part of the model each.
    """
    gpu = device.name == "cuda"
    if gpu:
        free, _ = torch.cuda.mem_get_info()
        free += torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    else:
        free = available_memory() // processes
    return MemoryBudget(bytes=int(share * free), itemsize=device.dtype.itemsize, gpu=gpu, shards=shards)


def is_sharded(recipe: Recipe, vocabulary: int, device: Device, group: ProcessGroup) -> bool:
    """Whether each rank has a part of the model only: by `train.sharding`, or if a whole one does not fit on each."""
    if group.world_size == 1 or recipe.train.sharding == "none":
        return False
    fits = memory_budget(device, processes=group.local_size).fits(recipe, vocabulary, 1)
    return recipe.train.sharding == "full" or not all(everywhere for (everywhere,) in group.all_gather(fits))


def choose_micro_batch(
    recipe: Recipe, vocabulary: int, device: Device, group: ProcessGroup | None = None, *, sharded: bool = False
) -> int:
    """Sequences in one forward pass: the recipe's micro_batch, or as many as fit according to `core.model.memory`.

    Called before the model is created. Raises TrainingMemoryError if it does not fit, with settings that would.
    """
    group = group or ProcessGroup()
    requested, batch = recipe.train.micro_batch, recipe.train.batch_size
    free, space = (
        memory_budget(device, share, group.local_size, group.world_size if sharded else 1) for share in (1.0, MARGIN)
    )
    if requested is not None:
        requested = min(requested, batch)
        if free.fits(recipe, vocabulary, requested):
            return requested
    else:
        fits = largest_micro_batch(recipe, vocabulary, space)
        if fits or free.fits(recipe, vocabulary, 1):
            return fits or 1
    required = required_bytes(recipe, vocabulary, requested or 1, space)
    alternatives = list(suggest_changes(recipe, vocabulary, space))
    raise TrainingMemoryError(
        f"the memory is too small: {requested or 1} of its sequences at a time need about {_gib(required)}, "
        f"and {_gib(free.bytes)} are free",
        where=f"{_billions(parameters(recipe.model, vocabulary).total)} parameters",
        todo="this would fit: " + ", or ".join(f"--set {one}" for one in alternatives)
        if alternatives
        else "use a much smaller model, or a machine with more memory",
    )


def make_plan(
    model: GPT,
    optimizers: Sequence[Optimizer],
    recipe: Recipe,
    device: Device,
    *,
    micro_batch: int,
    validation: int,
    shards: int = 1,
) -> TrainingForecast:
    """Measure the training of `model` without changing weights, optimizer state or random states.

    micro_batch: from `choose_micro_batch`; halved if the memory is too small for it after all. validation: tokens of
    the validation text. shards: number of ranks with a part of the model; of more than one only the memory is
    predicted, since passes are collective. Raises TrainingMemoryError.
    """
    weights = 4 * parameters(recipe.model, model.vocab_size).total
    process = 0 if device.name == "cuda" else max(0, psutil.Process().memory_info().rss - weights)
    reset_peak_memory()

    def measure(size: int) -> PassTimings | None:
        with preserve_training_state(model, optimizers):
            return _measure(model, optimizers, recipe, size)

    try:
        timings: PassTimings | None = None
        if shards == 1:
            timings, micro_batch = halve_on_out_of_memory(measure, micro_batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingMemoryError(
            f"the memory is too small for one sequence of {plural(recipe.model.block_size, 'token')}",
            todo="use a smaller model or a shorter model.block_size",
        ) from None
    estimate = estimate_training(recipe, timings, micro_batch=micro_batch, validation=validation) if timings else None
    return TrainingForecast(
        parameters=parameters(recipe.model, model.vocab_size),
        memory=memory(
            recipe,
            model.vocab_size,
            micro_batch=micro_batch,
            itemsize=device.dtype.itemsize,
            gpu=device.name == "cuda",
            process=process,
            shards=shards,
        ),
        micro_batch=micro_batch,
        batch=recipe.train.batch_size,
        step_seconds=estimate.step if estimate else None,
        seconds=estimate.seconds if estimate else None,
        tokens=estimate.tokens if estimate else None,
    )


def should_compile(recipe: Train, device: Device, seconds: float | None) -> bool:
    """Whether compiling the blocks saves more time than it takes. seconds: estimate of the training; None: unknown.

    On a GPU it saves a third of each step for about a minute. On two CPU cores, in shapes 4/4/128, 6/6/384 and
    12/12/768, compiled blocks were 0 to 8 % faster, within the noise, for 15 to 30 s of compilation: only if the
    recipe says so.
    """
    if recipe.compile != "auto":
        return recipe.compile == "on"
    return device.name == "cuda" and (seconds or 0.0) > MIN_SECONDS_TO_COMPILE


def peak_memory_on(device: str) -> int:
    """Peak memory of this process on `device` since `make_plan` started, in bytes."""
    return int(torch.cuda.max_memory_allocated()) if device == "cuda" else peak_memory()


@contextmanager
def preserve_training_state(model: GPT, optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Restore gradients, random states and training mode on exit, and clear the state of `optimizers`.

    No optimizer may have taken a step yet; weights have to be restored by the caller.
    """
    gradients = [parameter.grad for parameter in model.parameters()]
    training = model.training
    model.zero_grad(set_to_none=True)
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        try:
            yield
        finally:
            model.train(training)
            for optimizer in optimizers:
                optimizer.state.clear()
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.grad = gradient


def _measure(model: GPT, optimizers: Sequence[Optimizer], recipe: Recipe, micro_batch: int) -> PassTimings | None:
    """Run one micro-batch, and measure its parts; None if that would take too large a share of the training."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.vocab_size, (micro_batch, recipe.model.block_size), generator=generator)
    ids = ids.to(model.device)

    def forward_backward() -> None:
        model.loss(ids, ids).objective.backward()  # type: ignore[no-untyped-call]

    def forward() -> None:
        with torch.inference_mode():
            model.loss(ids, ids)

    def token() -> None:
        with torch.inference_mode():
            model.logits(model.hidden_states(ids[:1, : 1 + recipe.sample.tokens // 2])[0, -1]).cpu()

    model.train()
    first = _seconds(forward_backward)
    budget = max(MIN_PROBE_SECONDS, MAX_PROBE_SHARE * _expected(recipe, micro_batch, first))
    if 3 * first > budget:
        return None
    seconds = [_seconds(forward_backward) for _ in range(max(1, min(5, int(budget / first / 3))))]
    update = _seconds_of_update(model, optimizers, recipe)
    model.zero_grad(set_to_none=True)
    model.eval()
    token()
    return PassTimings(
        forward_backward=statistics.median(seconds), update=update, forward=_seconds(forward), token=_seconds(token)
    )


def _seconds_of_update(model: GPT, optimizers: Sequence[Optimizer], recipe: Recipe) -> float:
    """Seconds of the second optimizer step (the first one allocates the optimizer state). The weights are restored."""
    before = [parameter.detach().clone() for parameter in model.parameters()]

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.train.grad_clip or math.inf)
        for optimizer in optimizers:
            optimizer.step()

    try:
        update()
        return _seconds(update)
    finally:
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), before, strict=True):
                parameter.copy_(value)


def _expected(recipe: Recipe, micro_batch: int, one: float) -> float:
    """Rough estimate of the training in seconds, if a forward and backward pass takes `one`."""
    step = one * recipe.train.batch_size / micro_batch
    token = step / (recipe.train.batch_size * recipe.model.block_size)
    seconds = {"steps": step, "tokens": token, "minutes": 60.0}
    return min(limit * seconds[unit] for unit, limit in limits(recipe.train).items())


def _seconds(function: Callable[[], None]) -> float:
    began = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"


def _billions(number: int) -> str:
    return f"{number / 1e9:,.2f} billion" if number >= 1e9 else f"{number / 1e6:,.1f} million"
