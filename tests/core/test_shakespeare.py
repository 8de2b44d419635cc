"""What the training runs of others come to, with their settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.quality import AS_NANOGPT
from core.events import Evaluation
from core.jobs.prepare import prepare
from core.recipe.file import load
from core.storage.workspace import Workspace
from core.train.trainer import Trainer
from tests.core.stages import return_value
from tests.core.training import CPU, of_type, train

SHAKESPEARE = Path(__file__).parents[3] / "shared" / "data" / "tinyshakespeare.txt"


# B4 of the reference: nanoGPT's README says 1.88 of this configuration, the mean of 20 batches
@pytest.mark.slow
@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="tiny Shakespeare is not here")
def test_nanogpts_cpu_configuration_reaches_the_loss_of_its_readme(tmp_path: Path, workspace: Workspace) -> None:
    settings = {**AS_NANOGPT, "source.corpus": str(SHAKESPEARE), "train.minutes": 600}
    recipe = load(preset="shakespeare", overrides=[f"{key}={value}" for key, value in settings.items()])
    reported = train(Trainer(recipe, return_value(prepare(recipe, workspace)).tokens, tmp_path, CPU))
    *_, last = of_type(Evaluation, reported)
    assert last.final
    assert last.step == 2000
    assert last.loss <= 1.88
