"""The optimisers: which parameters belong to which, and both equal to torch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from core.model.gpt import GPT
from core.recipe.schema import Group, Model, Train
from core.train.adamw import AdamW
from core.train.muon import Muon
from core.train.optimizer import ParamGroupError, optimizers, set_lr_factor

SHAPE = Model(n_layer=2, n_head=2, n_embd=32, block_size=16, bias=True, norm="layer")


def ways(recipe: Train, shape: Model = SHAPE) -> dict[str, tuple[str, float, float]]:
    """Optimiser, peak learning rate and weight decay of each parameter."""
    model = GPT(shape, 50)
    names = {parameter: name for name, parameter in model.named_parameters()}
    made = {
        names[parameter]: (type(optimizer).__name__, group["peak"], group["weight_decay"])
        for optimizer in optimizers(model, recipe)
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert made.keys() == set(names.values())  # each once: dict(...) would hide none that is missing
    assert sum(len(g["params"]) for o in optimizers(model, recipe) for g in o.param_groups) == len(names)
    return made


def test_muon_gets_the_matrices_of_the_blocks_and_norms_and_biases_never_decay() -> None:
    made = ways(Train(optimizer="muon", lr=0.01, muon_lr=0.02, weight_decay=0.1))
    for name, way in made.items():
        if name.endswith("bias") or "ln_" in name:
            assert way == ("AdamW", 0.01, 0.0)
        elif name.startswith("h."):
            assert way == ("Muon", 0.02, 0.1)
        else:
            assert way == ("AdamW", 0.01, 0.1)
    assert {way[0] for way in ways(Train(optimizer="adamw")).values()} == {"AdamW"}


def test_the_first_pattern_that_matches_decides() -> None:
    made = ways(
        Train(
            optimizer="muon",
            lr=0.01,
            weight_decay=0.1,
            groups=(
                Group(names="h.1.attn.*.weight", lr=0.005),
                Group(names="h.*.attn.*.weight", optimizer="adamw", weight_decay=0.3),
                Group(names="lm_head.weight", optimizer="muon", lr=0.03),
                Group(names="wte.*", lr=0),
            ),
        )
    )
    assert made["h.1.attn.c_attn.weight"] == ("Muon", 0.005, 0.1)
    assert made["h.0.attn.c_attn.weight"] == ("AdamW", 0.01, 0.3)
    assert made["lm_head.weight"] == ("Muon", 0.03, 0.1)
    assert made["wte.weight"] == ("AdamW", 0, 0.1)
    assert made["h.0.mlp.c_fc.weight"] == ("Muon", 0.02, 0.1)


def test_one_pattern_can_match_every_parameter() -> None:
    rms = Model(n_layer=1, n_head=2, n_embd=32, block_size=16)
    assert {way[0] for way in ways(Train(groups=(Group(names="*", optimizer="adamw"),)), rms).values()} == {"AdamW"}


@pytest.mark.parametrize(
    ("groups", "what", "todo"),
    [
        (["h.*.attention.*"], "'h.*.attention.*' matches no parameter", "h.0.attn"),
        (["lm_haed.weight"], "'lm_haed.weight' matches no parameter", "lm_head.weight"),
        (["h.*", "h.0.*"], "'h.0.*' matches only what earlier ones (h.*)", "before"),
    ],
)
def test_a_pattern_without_a_match_is_an_error_with_suggestions(groups: list[str], what: str, todo: str) -> None:
    with pytest.raises(ParamGroupError) as caught:
        ways(Train(groups=tuple(Group(names=names) for names in groups)))
    assert what in caught.value.what
    assert todo in caught.value.todo


def test_muon_refuses_parameters_that_are_not_matrices() -> None:
    with pytest.raises(ParamGroupError) as caught:
        ways(Train(groups=(Group(names="h.0.*", optimizer="muon"),)))
    assert "h.0.ln_1.weight has 1 dimension" in caught.value.what


def test_the_learning_rate_is_scaled_from_the_peak_of_each_group() -> None:
    made = optimizers(GPT(SHAPE, 50), Train(lr=0.01, muon_lr=0.02, groups=(Group(names="wte.*", lr=0.5),)))
    for share in (0.5, 0.1):
        set_lr_factor(made, share)
        rates = {group["lr"] for optimizer in made for group in optimizer.param_groups}
        assert rates == {share * peak for peak in (0.01, 0.02, 0.5)}


# A23 of the reference: one step of ours equal to torch.optim.Muon on a fixed seed to 1e-6; here also after ten steps,
# for tall, wide and square matrices, several of a shape, and every option
@pytest.mark.parametrize("options", [{}, {"ns_steps": 3, "weight_decay": 0.0}, {"lr": 0.02, "momentum": 0.8}])
def test_muon_matches_torch(options: dict[str, Any]) -> None:
    torch.manual_seed(5)
    shapes = [(96, 32), (96, 32), (32, 32), (32, 128), (128, 32), (32, 32), (7, 5)]
    ours, theirs = ([nn.Parameter(torch.empty(shape)) for shape in shapes] for _ in range(2))
    for one, other in zip(ours, theirs, strict=True):
        nn.init.normal_(one)
        other.data.copy_(one.data)
    mine, reference = Muon(ours, **options), torch.optim.Muon(theirs, **options)
    for _ in range(10):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        mine.step()
        reference.step()
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
            assert mine.state[one].keys() == reference.state[other].keys()


def test_adamw_is_bit_identical_to_torch() -> None:
    torch.manual_seed(5)
    ours, theirs = ([nn.Parameter(torch.ones(shape)) for shape in ((30, 20), (20,), (3, 4, 5))] for _ in range(2))
    options: dict[str, Any] = {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.1, "fused": True}
    mine, reference = AdamW(ours, **options), torch.optim.AdamW(theirs, **options)
    for _ in range(10):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        mine.step()
        reference.step()
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
        assert all(
            mine.state[one].keys() == reference.state[other].keys() for one, other in zip(ours, theirs, strict=True)
        )


def test_a_muon_step_is_nearly_orthogonal() -> None:
    torch.manual_seed(5)
    matrix = nn.Parameter(torch.zeros(64, 32))
    matrix.grad = torch.randn(64, 32) * 1000
    Muon([matrix], lr=1.0, weight_decay=0.0).step()
    values = torch.linalg.svdvals(matrix.detach() / 2**0.5)  # tall ones step further: by the root of rows / columns
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.3
