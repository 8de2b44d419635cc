"""docs/extending.md has steps and a test for each extension, and names every registry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (?:An?) ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("section", SECTIONS)
def test_each_section_has_steps_and_a_test(section: str) -> None:
    assert re.search(r"^1\. `", SECTIONS[section], re.MULTILINE)
    assert "\nTest: " in SECTIONS[section]


@pytest.mark.parametrize(
    ("section", "file", "names"),
    [
        ("sampling setting", "core/sample/logits_processors.py", ("PROCESSORS",)),
        ("cleaning step", "core/preprocess/steps.py", ("STEPS",)),
        ("source", "core/sources/corpora.py", ("CORPORA",)),
        ("source", "core/sources/catalog.py", ("Kind", "kind_of")),
        ("source", "core/download/__init__.py", ("open_source", "source_fingerprint")),
        ("activation of the MLP", "core/model/layers.py", ("ACTIVATIONS",)),
        ("format of exported models", "core/export/request.py", ("FORMATS",)),
        ("command", "llmtui/cli/commands/__init__.py", ("MODULES",)),
        ("chart", "llmtui/tui/chart_table.py", ("CHARTS",)),
        ("screen", "llmtui/tui/screen_table.py", ("SCREENS",)),
        ("view of the Data screen", "llmtui/tui/screen_table.py", ("DATA_VIEWS",)),
        ("theme key", "llmtui/tui/theming.py", ("VARIABLES",)),
    ],
)
def test_registries_are_where_the_text_says(section: str, file: str, names: tuple[str, ...]) -> None:
    assert f"`{file}`" in SECTIONS[section]
    source = (ROOT / file).read_text(encoding="utf-8")
    for name in names:
        assert f"`{name}`" in SECTIONS[section]
        assert re.search(rf"^(def )?{name}\b", source, re.MULTILINE), f"{name} is not defined in {file}"
