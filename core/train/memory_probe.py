"""Making a training fit its machine: how many sequences at once, and what it will take, tried before the first step."""

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
from core.model.memory_fit import MARGIN, Room, largest_micro_batch, needed, what_would_fit
from core.plural import plural
from core.recipe.schema import Recipe, Train
from core.train.forecast import Timing, forecast
from core.train.out_of_memory import TrainingMemoryError, halving
from core.train.schedule import limits

SHARE = 0.03
"""Of the training that trying it out may take."""

COMPILING = 300.0
"""Seconds of training from which compiling is worth its time on a GPU: saved is a third, spent is about a minute."""

ALWAYS = 0.5
"""Seconds that trying it out may take however short the training is."""


def room(device: Device, share: float = 1.0, processes: int = 1) -> Room:
    """What there is for a training on `device` that has not been laid out yet.

    processes: how many of them train it on this machine. A GPU is one's own, the machine's memory is everybody's.
    """
    gpu = device.name == "cuda"
    if gpu:
        free, _ = torch.cuda.mem_get_info()
        free += torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    else:
        free = available_memory() // processes
    return Room(bytes=int(share * free), itemsize=device.dtype.itemsize, gpu=gpu)


def fitting(recipe: Recipe, vocabulary: int, device: Device, processes: int = 1) -> int:
    """Sequences in one forward pass: what the recipe asks for, or as many as fit, by the formula.

    To be asked before the model is there. Raises TrainingMemoryError where it does not fit, and says what would.
    """
    asked, batch = recipe.train.micro_batch, recipe.train.batch_size
    free, space = room(device, processes=processes), room(device, MARGIN, processes)
    if asked is not None:
        asked = min(asked, batch)
        if free.takes(recipe, vocabulary, asked):
            return asked
    else:
        fits = largest_micro_batch(recipe, vocabulary, space)
        if fits or free.takes(recipe, vocabulary, 1):
            return fits or 1
    short = needed(recipe, vocabulary, asked or 1, space)
    would = list(what_would_fit(recipe, vocabulary, space))
    raise TrainingMemoryError(
        f"the memory is too small: {asked or 1} of its sequences at a time need about {_gib(short)}, "
        f"and {_gib(free.bytes)} are free",
        where=f"{_billions(parameters(recipe.model, vocabulary).total)} parameters",
        todo="this would fit: " + ", or ".join(f"--set {one}" for one in would)
        if would
        else "use a much smaller model, or a machine with more memory",
    )


def plan(
    model: GPT,
    optimizers: Sequence[Optimizer],
    recipe: Recipe,
    device: Device,
    *,
    micro_batch: int,
    validation: int,
) -> TrainingForecast:
    """What the training of `model` will take, after a try that leaves no trace in it or in random states.

    micro_batch: as `fitting` says; halved where the memory is too small for it after all. validation: tokens held out.
    Raises TrainingMemoryError.
    """
    weights = 4 * parameters(recipe.model, model.vocab_size).total
    process = 0 if device.name == "cuda" else max(0, psutil.Process().memory_info().rss - weights)
    reset_peak_memory()

    def tried(size: int) -> Timing | None:
        with untouched(model, optimizers):
            return _try(model, optimizers, recipe, size)

    try:
        timing, micro_batch = halving(tried, micro_batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingMemoryError(
            f"the memory is too small for one sequence of {plural(recipe.model.block_size, 'token')}",
            todo="use a smaller model or a shorter model.block_size",
        ) from None
    told = forecast(recipe, timing, micro_batch=micro_batch, validation=validation) if timing else None
    return TrainingForecast(
        parameters=parameters(recipe.model, model.vocab_size),
        memory=memory(
            recipe,
            model.vocab_size,
            micro_batch=micro_batch,
            itemsize=device.dtype.itemsize,
            gpu=device.name == "cuda",
            process=process,
        ),
        micro_batch=micro_batch,
        batch=recipe.train.batch_size,
        step_seconds=told.step if told else None,
        seconds=told.seconds if told else None,
        tokens=told.tokens if told else None,
    )


def worth_compiling(recipe: Train, device: Device, seconds: float | None) -> bool:
    """Whether compiled blocks save more time than compiling takes.

    On a GPU a third of each step against about a minute. On two cores, in shapes 4/4/128, 6/6/384 and 12/12/768, they
    were 0 to 8 % faster, within the noise, for 15 to 30 s of compiling: only where somebody asks for it.
    seconds: the whole training is expected to take; None: nobody knows.
    """
    if recipe.compile != "auto":
        return recipe.compile == "on"
    return device.name == "cuda" and (seconds or 0.0) > COMPILING


def peak(device: str) -> int:
    """The most memory this process has had on `device` since `plan` began, in bytes."""
    return int(torch.cuda.max_memory_allocated()) if device == "cuda" else peak_memory()


@contextmanager
def untouched(model: GPT, optimizers: Sequence[Optimizer]) -> Iterator[None]:
    """Whatever is done inside: weights, gradients, averages and random states are as before. No optimiser may have
    taken a step yet."""
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


def _try(model: GPT, optimizers: Sequence[Optimizer], recipe: Recipe, micro_batch: int) -> Timing | None:
    """Work through one micro-batch, and take the time of it where that is not too large a share of the training."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.vocab_size, (micro_batch, recipe.model.block_size), generator=generator)
    ids = ids.to(model.device)

    def work() -> None:
        model.loss(ids, ids).objective.backward()  # type: ignore[no-untyped-call]

    def forward() -> None:
        with torch.inference_mode():
            model.loss(ids, ids)

    def token() -> None:
        with torch.inference_mode():
            model.logits(model.hidden_states(ids[:1, : 1 + recipe.sample.tokens // 2])[0, -1]).cpu()

    model.train()
    first = _seconds(work)
    budget = max(ALWAYS, SHARE * _expected(recipe, micro_batch, first))
    if 3 * first > budget:
        return None
    passes = [_seconds(work) for _ in range(max(1, min(5, int(budget / first / 3))))]
    update = _update(model, optimizers, recipe)
    model.zero_grad(set_to_none=True)
    model.eval()
    token()
    return Timing(pass_=statistics.median(passes), update=update, forward=_seconds(forward), token=_seconds(token))


def _update(model: GPT, optimizers: Sequence[Optimizer], recipe: Recipe) -> float:
    """Seconds of a step of the optimisers: the second, since the first makes room for their averages."""
    before = [parameter.detach().clone() for parameter in model.parameters()]

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.train.clip or math.inf)
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
    """Seconds of the whole training, roughly, where a pass takes `one`."""
    step = one * recipe.train.batch_size / micro_batch
    token = step / (recipe.train.batch_size * recipe.model.block_size)
    seconds = {"steps": step, "tokens": token, "minutes": 60.0}
    return min(limit * seconds[unit] for unit, limit in limits(recipe.train).items())


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"


def _billions(number: int) -> str:
    return f"{number / 1e9:,.2f} billion" if number >= 1e9 else f"{number / 1e6:,.1f} million"
