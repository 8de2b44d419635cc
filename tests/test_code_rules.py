"""Rules for all source files: forbidden calls, light imports, file length, module docstrings."""

from __future__ import annotations

import functools
import io
import json
import os
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for package in ("core", "llmtui") for path in (ROOT / package).rglob("*.py"))
HEAVY = {"torch", "datasets", "pyarrow", "tokenizers", "tiktoken", "numpy"}

FORBIDDEN = {
    r"\bpickle\b": "executes code from data",
    r"\btorch\.(load|save)\b": "uses pickle",
    r"\bshell\s*=\s*True\b": "allows shell injection",
    r"\byaml\.load\b": "executes code from data",
    r"(?<![.\w])(eval|exec)\(": "executes code from data",
    r"\bos\.system\b": "allows shell injection",
    r"\btempfile\.mktemp\b": "race condition",
}


@functools.cache
def code_of(path: Path) -> str:
    """The code of a file without comments and string literals, which may mention forbidden calls."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
    kept = [(kind, text) for kind, text, *_ in tokens if kind not in (tokenize.COMMENT, tokenize.STRING)]
    return re.sub(r"\s*([.=(])\s*", r"\1", tokenize.untokenize(kept))  # untokenize puts spaces between all tokens


@pytest.mark.heavy
@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_no_source_file_has_dangerous_calls(pattern: str) -> None:
    found = [str(path.relative_to(ROOT)) for path in SOURCES if re.search(pattern, code_of(path))]
    assert found == [], FORBIDDEN[pattern]


@pytest.mark.heavy
def test_core_never_prints() -> None:
    printing = [
        str(p.relative_to(ROOT)) for p in SOURCES if "core" in p.parts and re.search(r"(?<![.\w])print\(", code_of(p))
    ]
    assert printing == []


@pytest.mark.parametrize(
    "arguments", [["--help"], ["ls"], ["ls", "--json"], ["recipe"], ["plan"], ["locate"], ["doctor"]]
)
def test_light_commands_import_neither_torch_nor_textual(arguments: list[str]) -> None:
    program = (
        "import sys, json\n"
        "from llmtui.cli.main import run\n"
        f"run({arguments!r})\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ
    )
    imported = set(json.loads(done.stderr.splitlines()[-1]))
    assert imported & (HEAVY | {"textual", "rich"}) == set()
    assert {"core", "llmtui", "click"} <= imported


def test_training_and_sampling_do_not_import_the_compiler_unless_they_compile() -> None:
    """Importing torch._dynamo takes as long as torch itself."""
    program = (
        "import sys, tempfile, torch\n"
        "from pathlib import Path\n"
        "import core.pipeline, core.sample.serve\n"
        "from core.model.gpt import GPT\n"
        "from core.model.weights import load_model, save_model\n"
        "from core.recipe.schema import Model, Train\n"
        "from core.train.optimizer import optimizers\n"
        "model = GPT(Model(n_layer=1, n_head=1, n_embd=8, block_size=8), 10)\n"
        "ids = torch.zeros(1, 8, dtype=torch.int64)\n"
        "model.loss(ids, ids).objective.backward()\n"
        "steps = [optimizer.step() for optimizer in optimizers(model, Train(optimizer='muon'))]\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    save_model(model, Path(folder))\n"
        "    load_model(Path(folder))(ids)\n"
        "print(len(steps), 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n"


def test_no_source_file_is_too_long() -> None:
    """The rule is about 350 lines; this leaves some margin."""
    long = {
        str(path.relative_to(ROOT)): lines for path in SOURCES if (lines := len(path.read_text().splitlines())) > 525
    }
    assert long == {}


def test_every_module_has_a_docstring() -> None:
    undocumented = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.stat().st_size and not path.read_text("utf-8").startswith(('"""', 'r"""'))
    ]
    assert undocumented == []
