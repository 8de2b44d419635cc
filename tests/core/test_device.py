"""Device, precision and allocator of a training, and readings of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.hardware import HardwareMonitor, machine
from core.model.device import DeviceError, choose_device, raise_malloc_thresholds
from core.recipe.schema import Train


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one here")
def test_an_unavailable_device_is_an_error_that_names_it() -> None:
    with pytest.raises(DeviceError) as caught:
        choose_device(Train(device="cuda"))
    assert "cuda" in caught.value.what
    assert "auto" in caught.value.todo


def test_precision_follows_the_recipe_and_is_described() -> None:
    exact = choose_device(Train(device="cpu", precision="float32"))
    assert (exact.dtype, exact.torch.type) == (torch.float32, "cpu")
    assert "float32" in exact.description
    assert choose_device(Train(device="cpu", precision="bfloat16")).dtype == torch.bfloat16
    assert (
        str(choose_device(Train(device="cpu")).dtype).removeprefix("torch.")
        in choose_device(Train(device="cpu")).description
    )


def test_nothing_is_measured_if_float32_is_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.model.device.measure_speed", lambda: pytest.fail("it measures"))
    assert choose_device(Train(device="cpu", precision="float32")).muon == torch.float32


@pytest.mark.parametrize(("most", "expected"), [(1 << 31, 1 << 30), (1 << 25, 1 << 25)])
def test_malloc_thresholds_are_raised_as_far_as_accepted(most: int, expected: int) -> None:
    kept: dict[int, int] = {}

    def mallopt(which: int, value: int) -> int:
        """Of the newest glibc, or of one before 2.35, which refuses more than 32 MiB as an mmap threshold."""
        if which == -3 and value > most:
            return 0
        kept[which] = value
        return 1

    raise_malloc_thresholds(mallopt)
    assert kept == {-3: expected, -1: (1 << 31) - 1}


def test_readings_stay_within_what_the_machine_has(tmp_path: Path) -> None:
    has = machine()
    meter = HardwareMonitor(tmp_path)
    sum(number * number for number in range(300_000))
    reading = meter.read()
    assert 0 <= reading.cpu <= 1
    assert 0 < reading.process_ram < reading.ram_total == has.memory
    assert reading.cores == has.cores >= 1
    assert reading.process_cpu > 0
    assert reading.disk_free > 0
