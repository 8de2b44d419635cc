"""The optimisers: AdamW for everything, or Muon for the blocks' matrices and AdamW for the rest; and the exceptions."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from core.errors import UsageError
from core.model.gpt import GPT
from core.plural import plural
from core.recipe.schema import Group, Train
from core.train.adamw import AdamW
from core.train.muon import Muon


class ParamGroupError(UsageError):
    """A group of parameters that cannot be trained as it says."""

    doing = "train"


class Way(NamedTuple):
    """How a parameter is trained."""

    muon: bool
    lr: float
    """Peak."""
    weight_decay: float


def optimizers(model: GPT, recipe: Train, muon_dtype: torch.dtype = torch.bfloat16) -> list[Optimizer]:
    """The optimisers that together move every parameter of `model` once. muon_dtype: of Muon's products.

    Each of their groups carries its `peak` learning rate, of which `set_rate` takes a share. Raises ParamGroupError.
    """
    parameters = dict(model.named_parameters())
    chosen = assign(list(parameters), recipe.groups)
    ways: defaultdict[Way, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in parameters.items():
        ways[_way(name, parameter, recipe, chosen.get(name))].append(parameter)
    adamw, muon = (
        [
            {"params": held, "lr": way.lr, "weight_decay": way.weight_decay}
            for way, held in ways.items()
            if way.muon == is_muon
        ]
        for is_muon in (False, True)
    )
    made: list[Optimizer] = []
    if adamw:  # fused exists on the CPU too, 2 to 5 % of a step (shape 6/6/384)
        made.append(AdamW(adamw, betas=(recipe.beta1, recipe.beta2), fused=True))
    if muon:
        made.append(Muon(muon, ns_steps=recipe.muon_iterations, dtype=muon_dtype))
    for group in (group for optimizer in made for group in optimizer.param_groups):
        group["peak"] = group["lr"]
    return made


def multiply_in(optimizers: Iterable[Optimizer], dtype: torch.dtype) -> None:
    """Let Muon, where it is one of `optimizers`, make its products in `dtype` from now on."""
    for optimizer in optimizers:
        if isinstance(optimizer, Muon):
            optimizer.dtype = dtype


def set_rate(optimizers: Iterable[Optimizer], share: float) -> None:
    """Make the learning rate of every group this share of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = share * group["peak"]


def assign(names: Sequence[str], groups: Sequence[Group]) -> dict[str, Group]:
    """Which of `groups` each parameter is in, by its name: the first that matches.

    Raises ParamGroupError for one without.
    """
    chosen: dict[str, Group] = {}
    for number, group in enumerate(groups):
        matching = [name for name in names if fnmatchcase(name, group.names)]
        free = [name for name in matching if name not in chosen]
        if not free:
            patterns = ", ".join(earlier.names for earlier in groups[:number])
            raise ParamGroupError(
                f"the pattern {group.names!r} matches "
                + (f"only what earlier ones ({patterns}) have taken" if matching else "no parameter of this model"),
                where="train.groups",
                todo="put it before them" if matching else f"near to it are {', '.join(_near(group.names, names))}",
            )
        chosen |= dict.fromkeys(free, group)
    return chosen


def _way(name: str, parameter: nn.Parameter, recipe: Train, group: Group | None) -> Way:
    # embeddings and an output layer are tables of vectors, not maps between them: Muon only where asked for
    muon = recipe.optimizer == "muon" and parameter.dim() == 2 and name.startswith("h.")
    lr = decay = None
    if group is not None:
        muon = muon if group.optimizer is None else group.optimizer == "muon"
        lr, decay = group.lr, group.weight_decay
    if muon and parameter.dim() != 2:
        raise ParamGroupError(
            f"Muon turns matrices, and {name} has {plural(parameter.dim(), 'dimension')}",
            where="train.groups",
            todo='let the pattern match matrices only, such as "h.*.c_fc.weight", or set optimizer = "adamw"',
        )
    if lr is None:
        lr = recipe.muon_lr if muon else recipe.lr
    if decay is None:
        decay = recipe.weight_decay
    # norms and biases have no scale of their own that could grow too large
    return Way(muon, lr, decay if parameter.dim() >= 2 else 0.0)


def _near(pattern: str, names: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(pattern.replace("*", ""), names, n=3, cutoff=0)
