"""Diagnosis of a loss or gradient that is infinite or NaN: the first such tensor, and its likely cause."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from core.errors import LlmtuiError
from core.model.gpt import GPT
from core.model.objectives import Examples
from core.train.step import StepTotals


class NonFiniteError(LlmtuiError):
    """The loss or a gradient became infinite or NaN."""

    doing = "continue training"


def non_finite_error(
    model: GPT,
    batch: Examples,
    totals: StepTotals,
    *,
    step: int,
    lr: float,
    kept: str,
    gradients: Mapping[str, Tensor],
) -> NonFiniteError:
    """The error for a step that was not taken.

    lr: learning rate of AdamW; kept: which checkpoint is safe; gradients: by parameter, in the order of the model.
    """
    tensor, cause = diagnose(model, batch, gradients)
    return NonFiniteError(
        f"loss {totals.loss:g} and gradient norm {totals.grad_norm:g} at step {step:,}, first in {tensor}",
        where=f"learning rate {lr:.2g}",
        kept=f"the weights were not touched; {kept}",
        todo=f"{cause}; try --set train.lr={lr / 3:.1g}, or train.rollback_on_nan = true",
    )


def diagnose(model: GPT, batch: Examples, gradients: Mapping[str, Tensor]) -> tuple[str, str]:
    """The first tensor that is not finite, and the likely cause, both in words.

    Checks the weights, then the output of each layer for `batch`, one sequence at a time, then the gradients in the
    order of the backward pass, from the last layer to the first.
    """
    for name, parameter in model.named_parameters():
        if not _finite(parameter):
            return (
                f"the weights {name}",
                "they were so before this step: an earlier one was too long, or memory is faulty",
            )
    layer = _first_non_finite_layer(model, batch)
    if layer:
        coarse = ", or bfloat16 is too coarse for it (train.precision)" if model.dtype == torch.bfloat16 else ""
        return f"the output of {layer}", f"numbers have grown too large there: the learning rate is too high{coarse}"
    for name, gradient in reversed(list(gradients.items())):
        if not _finite(gradient):
            return f"the gradient of {name}", "it is this layer that is too steep: the learning rate is too high"
    return "the loss", "a sum has overflowed: the learning rate is too high, or the text has an unusual stretch here"


def _finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _first_non_finite_layer(model: GPT, batch: Examples) -> str:
    """Name of the first layer whose output for a sequence of `batch` is not finite; empty if there is none."""
    found: list[str] = []

    def hook_for(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if not found and isinstance(output, Tensor) and not _finite(output):
                found.append(name)

        return hook

    handles = [module.register_forward_hook(hook_for(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            for row in batch.ids:
                model(row[None].to(model.device))
                if found:
                    break
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ""
