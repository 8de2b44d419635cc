"""Number format and library of matrix products, and that a resumed run keeps them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from core.events import Metric
from core.model import device
from core.model.device import choose_device
from core.model.matmul import prefers_onednn
from core.model.matmul_speed import MatmulSpeed, measure_speed
from core.recipe.schema import Recipe, Train
from core.storage.artifact import Artifact
from core.train.checkpoint import TrainingState
from core.train.commands import Stop
from core.train.muon import Muon
from core.train.optimizer import set_muon_dtype
from core.train.trainer import Trainer
from tests.core.training import CPU, newest_tensors, tensors_equal, train

pytestmark = pytest.mark.heavy

ROUNDED = msgspec.structs.replace(CPU, muon=torch.bfloat16)
"""A machine on which bfloat16 is fast, `CPU` being one on which it is not."""

Make = Callable[..., Recipe]


@pytest.mark.parametrize(
    ("float32", "bfloat16", "number_format"),
    [
        (120.0, 1.3, "float32"),  # EPYC of the Zen 3 family: AVX2, bfloat16 emulated
        (178.0, 774.0, "bfloat16"),  # Zen 5: AVX512-BF16
        (400.0, 200.0, "float32"),  # a Xeon whose AMX the hypervisor hides
        (100.0, 119.0, "float32"),  # not worth the rounding
        (100.0, 121.0, "bfloat16"),
    ],
)
def test_the_fastest_format_follows_from_the_measurement(float32: float, bfloat16: float, number_format: str) -> None:
    assert MatmulSpeed(float32=float32, bfloat16=bfloat16).fastest == number_format


@pytest.mark.parametrize("bfloat16", [1.0, 1000.0])
def test_muon_uses_the_fast_format_unless_float32_is_requested(
    monkeypatch: pytest.MonkeyPatch, bfloat16: float
) -> None:
    monkeypatch.setattr(device, "measure_speed", lambda: MatmulSpeed(float32=100.0, bfloat16=bfloat16))
    fast = torch.bfloat16 if bfloat16 > 100 else torch.float32
    chosen = {name: choose_device(Train(device="cpu", precision=name)) for name in ("auto", "float32", "bfloat16")}
    assert {name: (one.dtype, one.muon) for name, one in chosen.items()} == {
        "auto": (fast, fast),
        "float32": (torch.float32, torch.float32),
        "bfloat16": (torch.bfloat16, fast),
    }


def test_speed_is_measured_once_for_both_formats() -> None:
    found = measure_speed()
    assert found.float32 > 0 < found.bfloat16
    assert measure_speed() is found


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 fma", False),  # Zen 3
        ("vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 avx512f avx512_bf16", True),  # Zen 5
        ("vendor_id\t: GenuineIntel\nflags\t\t: fpu avx2 avx512f amx_tile", False),
        ("processor\t: 0\nFeatures\t: fp asimd bf16", False),  # ARM
        ("", False),  # macOS
    ],
)
def test_onednn_is_used_on_processors_where_it_is_faster(processor: str, expected: bool) -> None:
    assert prefers_onednn(processor) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_muon_step_is_nearly_equal_in_both_formats(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    matrices = [torch.nn.Parameter(torch.zeros(64, 32)) for _ in range(2)]
    for matrix in matrices:
        matrix.grad = torch.randn(64, 32)
    Muon(matrices, lr=1.0, weight_decay=0.0, dtype=dtype).step()
    for matrix in matrices:
        assert matrix.dtype == torch.float32
        exact = torch.optim.Muon([twin := torch.nn.Parameter(torch.zeros(64, 32))], lr=1.0, weight_decay=0.0)
        assert matrix.grad is not None
        twin.grad = matrix.grad.clone()
        exact.step()
        assert float((matrix - twin).detach().norm() / twin.detach().norm()) < 0.02


def stop_at_3(metric: Metric) -> tuple[Stop, ...] | None:
    return (Stop(),) if metric.step == 3 else None


def muon_dtypes(trainer: Trainer) -> set[torch.dtype]:
    return {optimizer.dtype for optimizer in trainer.optimizers if isinstance(optimizer, Muon)}


def test_a_resumed_training_keeps_muons_number_format(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    for name in ("whole", "moved"):
        (tmp_path / name).mkdir()
    recipe = tiny("train.steps=8")
    train(Trainer(recipe, tokens, tmp_path / "whole", ROUNDED))
    train(Trainer(recipe, tokens, tmp_path / "moved", ROUNDED), stop_at_3)
    moved = Trainer(recipe, tokens, tmp_path / "moved", CPU)
    train(moved)
    assert muon_dtypes(moved) == {torch.bfloat16}
    assert tensors_equal(newest_tensors(tmp_path / "whole"), newest_tensors(tmp_path / "moved"))
    (tmp_path / "exact").mkdir()
    train(Trainer(recipe, tokens, tmp_path / "exact", CPU))
    assert not tensors_equal(newest_tensors(tmp_path / "whole"), newest_tensors(tmp_path / "exact"))


def test_a_checkpoint_without_a_number_format_resumes_in_bfloat16(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "old").mkdir()
    train(Trainer(tiny("train.steps=6"), tokens, tmp_path / "whole", ROUNDED))

    class Old(Trainer):
        """Multiplies in bfloat16 and does not know that there is another way."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            set_muon_dtype(self.optimizers, torch.bfloat16)
            self.state = OldState(dtype=self.state.dtype)  # type: ignore[assignment]

    fields = {field.name: field for field in msgspec.structs.fields(TrainingState) if field.name != "muon_dtype"}
    OldState = msgspec.defstruct(
        "OldState", [(field.name, field.type, field.default) for field in fields.values()], kw_only=True
    )
    train(
        Old(tiny("train.steps=6"), tokens, tmp_path / "old", CPU),
        stop_at_3,
    )
    assert b"muon_dtype" not in (tmp_path / "old" / "step-00000003" / "state.json").read_bytes()
    train(Trainer(tiny("train.steps=6"), tokens, tmp_path / "old", CPU))
    assert tensors_equal(newest_tensors(tmp_path / "whole"), newest_tensors(tmp_path / "old"))


def test_another_precision_on_resume_changes_the_number_format(tiny: Make, tokens: Artifact, tmp_path: Path) -> None:
    train(Trainer(tiny("train.steps=2", "train.precision=auto"), tokens, tmp_path, ROUNDED))
    resumed = Trainer(tiny("train.steps=4", "train.precision=float32"), tokens, tmp_path, CPU)
    train(resumed)
    assert muon_dtypes(resumed) == {torch.float32}
    assert resumed.state.muon_dtype == "float32"
