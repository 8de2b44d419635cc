"""Which tensor is first to be infinite or not a number, and what that is likely to come from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from core.errors import LlmtuiError
from core.model.gpt import GPT
from core.model.objectives import Examples
from core.train.step import Sums


class NonFiniteError(LlmtuiError):
    """The loss or a gradient became infinite or not a number."""

    doing = "go on training"


def not_finite(model: GPT, batch: Examples, sums: Sums, *, step: int, rate: float, kept: str) -> NonFiniteError:
    """What to say of a step that was not taken. rate: learning rate of AdamW; kept: which checkpoint is safe."""
    tensor, cause = diagnose(model, batch)
    return NonFiniteError(
        f"loss {sums.loss:g} and gradient norm {sums.norm:g} at step {step:,}, first in {tensor}",
        where=f"learning rate {rate:.2g}",
        kept=f"the weights were not touched; {kept}",
        todo=f"{cause}; try --set train.lr={rate / 3:.1g}, or train.step_back = true",
    )


def diagnose(model: GPT, batch: Examples) -> tuple[str, str]:
    """The first tensor that is not finite, and the likely cause, both in words.

    Looks at the weights, then at what each layer makes of `batch`, then at the gradients in the order in which they
    were worked out, from the last layer to the first. Runs the model on one sequence after the other until it is found.
    """
    for name, parameter in model.named_parameters():
        if not _finite(parameter):
            return (
                f"the weights {name}",
                "they were so before this step: an earlier one was too long, or memory is faulty",
            )
    layer = _first_output(model, batch)
    if layer:
        coarse = ", or bfloat16 is too coarse for it (train.precision)" if model.dtype == torch.bfloat16 else ""
        return f"the output of {layer}", f"numbers have grown too large there: the learning rate is too high{coarse}"
    for name, parameter in reversed(list(model.named_parameters())):
        if parameter.grad is not None and not _finite(parameter.grad):
            return f"the gradient of {name}", "it is this layer that is too steep: the learning rate is too high"
    return "the loss", "a sum has overflowed: the learning rate is too high, or the text has an unusual stretch here"


def _finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _first_output(model: GPT, batch: Examples) -> str:
    """Name of the first layer whose output for a sequence of `batch` is not finite; empty where all are."""
    found: list[str] = []

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if not found and isinstance(output, Tensor) and not _finite(output):
                found.append(name)

        return hook

    hooks = [module.register_forward_hook(look(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            for row in batch.ids:
                model(row[None].to(model.device))
                if found:
                    break
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else ""
