"""Optimizers: AdamW for all parameters, or Muon for the matrices of the blocks and AdamW for the rest."""

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
from core.train.distributed import ProcessGroup
from core.train.muon import Muon


class ParamGroupError(UsageError):
    """A parameter group of the recipe that matches no parameter, or whose optimizer does not fit its parameters."""

    doing = "train"


class ParamGroup(NamedTuple):
    """Settings shared by the parameters of one group of an optimizer."""

    muon: bool
    lr: float
    """Peak learning rate."""
    weight_decay: float


def optimizers(
    model: GPT, recipe: Train, muon_dtype: torch.dtype = torch.bfloat16, group: ProcessGroup | None = None
) -> list[Optimizer]:
    """Optimizers that together update every parameter of `model` once.

    muon_dtype: of Muon's matrix products. group: the processes that train together.

    Each parameter group has its `peak` learning rate, which `set_lr_factor` scales. Raises ParamGroupError.
    """
    parameters = dict(model.named_parameters())
    chosen = assign_groups(list(parameters), recipe.groups)
    groups: defaultdict[ParamGroup, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in parameters.items():
        groups[_param_group(name, parameter, recipe, chosen.get(name))].append(parameter)
    adamw, muon = (
        [
            {"params": members, "lr": group.lr, "weight_decay": group.weight_decay}
            for group, members in groups.items()
            if group.muon == is_muon
        ]
        for is_muon in (False, True)
    )
    made: list[Optimizer] = []
    if adamw:  # fused saves 2 to 5 % of a step on the CPU, too (shape 6/6/384)
        made.append(AdamW(adamw, betas=(recipe.beta1, recipe.beta2), fused=True))
    if muon:
        made.append(Muon(muon, ns_steps=recipe.muon_iterations, dtype=muon_dtype, group=group))
    for param_group in (group for optimizer in made for group in optimizer.param_groups):
        param_group["peak"] = param_group["lr"]
    return made


def set_muon_dtype(optimizers: Iterable[Optimizer], dtype: torch.dtype) -> None:
    """Set the dtype of Muon's matrix products, if Muon is one of `optimizers`."""
    for optimizer in optimizers:
        if isinstance(optimizer, Muon):
            optimizer.dtype = dtype


def set_lr_factor(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Set the learning rate of every parameter group to `factor` times its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = factor * group["peak"]


def assign_groups(names: Sequence[str], groups: Sequence[Group]) -> dict[str, Group]:
    """The first of `groups` whose pattern matches, by parameter name; parameters without a match are left out.

    Raises ParamGroupError for a group without parameters.
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


def _param_group(name: str, parameter: nn.Parameter, recipe: Train, group: Group | None) -> ParamGroup:
    # embeddings and the output layer are tables of vectors, not linear maps: Muon only if the recipe says so
    muon = recipe.optimizer == "muon" and parameter.dim() == 2 and name.startswith("h.")
    lr = decay = None
    if group is not None:
        muon = muon if group.optimizer is None else group.optimizer == "muon"
        lr, decay = group.lr, group.weight_decay
    if muon and parameter.dim() != 2:
        raise ParamGroupError(
            f"Muon updates matrices, and {name} has {plural(parameter.dim(), 'dimension')}",
            where="train.groups",
            todo='let the pattern match matrices only, such as "h.*.c_fc.weight", or set optimizer = "adamw"',
        )
    if lr is None:
        lr = recipe.muon_lr if muon else recipe.lr
    if decay is None:
        decay = recipe.weight_decay
    # no weight decay on norms and biases, as usual
    return ParamGroup(muon, lr, decay if parameter.dim() >= 2 else 0.0)


def _near(pattern: str, names: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(pattern.replace("*", ""), names, n=3, cutoff=0)
