"""Statistics of the weights in checkpoints against torch."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from core.errors import LlmtuiError
from core.jobs import weight_statistics as job
from core.jobs.weight_statistics import BINS, CheckpointRead, WeightStatistics, weight_statistics
from core.model.weights import save_model, state_tensors, write_tensors
from tests.core.inspecting import each_shape, model_of


def of_tensors(directory: Path, **tensors: torch.Tensor) -> dict[str, WeightStatistics]:
    directory.mkdir(exist_ok=True)
    write_tensors(tensors, directory / "model.safetensors")
    return {
        statistics.name: statistics
        for statistics in weight_statistics([directory])
        if isinstance(statistics, WeightStatistics)
    }


@each_shape
def test_every_figure_is_that_of_torch(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_CHUNK", 100)  # several chunks for most tensors
    model = model_of(name)
    save_model(model, tmp_path)
    *statistics, last = weight_statistics([tmp_path])
    assert last == CheckpointRead(checkpoint=tmp_path.name)
    tensors = state_tensors(model)
    assert {one.name for one in statistics if isinstance(one, WeightStatistics)} == set(tensors)
    for one in statistics:
        assert isinstance(one, WeightStatistics)
        values = tensors[one.name].double()
        assert one.size == tuple(values.shape)
        assert one.norm == pytest.approx(float(torch.linalg.vector_norm(values)), rel=1e-12)
        assert one.mean == pytest.approx(float(values.mean()), rel=1e-9, abs=1e-12)
        assert one.deviation == pytest.approx(float(values.std(correction=0)), rel=1e-12)
        assert (one.lowest, one.highest) == (float(values.min()), float(values.max()))
        expected = torch.histogram(values.flatten(), BINS, range=(one.first, one.last)).hist
        # a value within rounding of the edge of two bins may be in either
        assert (torch.tensor(one.histogram) - expected).abs().sum() <= 2
        assert sum(one.histogram) + one.outside == values.numel()


def test_equal_values_have_no_histogram_and_no_deviation(tmp_path: Path) -> None:
    statistics = of_tensors(tmp_path, zeros=torch.zeros(3, 4), ones=torch.ones(5))
    assert (statistics["zeros"].norm, statistics["zeros"].histogram, statistics["zeros"].outside) == (0.0, (), 0)
    assert (statistics["ones"].mean, statistics["ones"].deviation) == (1.0, 0.0)


def test_values_that_are_not_finite_are_counted_and_left_out(tmp_path: Path) -> None:
    values = torch.tensor([3.0, math.nan, 4.0, math.inf])
    statistics = of_tensors(tmp_path, some=values, none=torch.full((2,), math.nan))
    assert (statistics["some"].norm, statistics["some"].not_finite) == (5.0, 2)
    assert (statistics["none"].norm, statistics["none"].not_finite, statistics["none"].histogram) == (0.0, 2, ())


def test_few_values_far_away_do_not_squash_the_histogram(tmp_path: Path) -> None:
    torch.manual_seed(1)
    statistics = of_tensors(tmp_path, w=torch.cat([torch.randn(10_000), torch.tensor([50.0, -60.0])]))["w"]
    assert statistics.outside >= 2 and statistics.highest == 50.0
    assert sum(count > 0 for count in statistics.histogram) > BINS / 2


def test_a_deleted_checkpoint_is_left_out_and_a_damaged_one_named(tmp_path: Path) -> None:
    assert list(weight_statistics([tmp_path / "gone"])) == []
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(LlmtuiError, match=r"model.safetensors cannot be read") as error:
        list(weight_statistics([tmp_path]))
    assert error.value.where == str(tmp_path)
