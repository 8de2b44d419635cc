"""The wheel: its contents, and that the installed program is not affected by files around it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from core.runs.lookup import all_runs
from core.storage.workspace import Workspace

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parent.parent
Installed = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = out.glob("llmtui-*.whl")
    return path


@pytest.fixture(scope="session")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `llmtui` script of the wheel in its own environment, which uses the dependencies of this one."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(environment, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))
    # a .pth file adds a path, not a site directory: the .pth of an editable llmtui in it is not read
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(environment),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*command, "--disable-pip-version-check", str(wheel)], check=True)
    return environment / "bin" / "llmtui"


@pytest.fixture
def installed(program: Path, tmp_path: Path) -> Installed:
    """Run the installed program in a folder that holds a hostile `core/` and a hostile `llmtui.py`."""
    folder = tmp_path / "hostile"
    (folder / "core").mkdir(parents=True)
    (folder / "core" / "__init__.py").write_text("print('HOSTILE')\n")
    (folder / "llmtui.py").write_text("print('HOSTILE')\n")

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environment
        return subprocess.run(
            [program, *arguments], cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )

    return run


def test_wheel_contains_the_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in names} == {"core", "llmtui"}
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in ("core", "llmtui")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    themes = {f"llmtui/themes/{path.name}" for path in (ROOT / "themes").glob("*.toml")}
    assert "core/recipe/presets/demo.toml" in expected and themes
    assert names == expected | themes


def test_installed_program_runs_among_hostile_packages(installed: Installed) -> None:
    for arguments, output in ((["--help"], "Exit codes:"), (["recipe", "--preset", "demo"], 'corpus = "stdlib"')):
        done = installed(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert output in done.stdout and "HOSTILE" not in done.stdout
    done = installed("ls")
    assert done.returncode == 0
    assert "there are no runs yet" in done.stderr


def test_installed_program_finds_its_own_files(installed: Installed, program: Path) -> None:
    presets = Path(installed("locate", "presets").stdout.strip())
    assert presets.is_relative_to(program.parent.parent)
    assert (presets / "demo.toml").exists()


def test_a_core_package_in_pythonpath_is_not_imported(installed: Installed, tmp_path: Path) -> None:
    foreign = tmp_path / "path" / "core"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("print('HOSTILE')\n")
    done = installed("recipe", PYTHONPATH=str(foreign.parent))
    assert done.returncode == 0
    assert "HOSTILE" not in done.stdout and 'corpus = "stdlib"' in done.stdout


def test_an_already_imported_foreign_core_package_is_reported(program: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "path" / "core"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").touch()
    # a .pth file or sitecustomize of the environment may import it before llmtui
    imports = "import core; from llmtui.cli.main import main; main()"
    code = f"import sys; sys.path.insert(0, {str(foreign.parent)!r}); {imports}"
    done = subprocess.run([program.with_name("python"), "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(foreign.parent) in done.stderr
    assert str(program.parent.parent) in done.stderr


def test_installed_program_trains_and_samples_among_hostile_packages(installed: Installed, corpus: Path) -> None:
    settings = [
        "tokenize.size=300", "model.n_layer=1", "model.n_head=2", "model.n_embd=32", "model.block_size=32",
        "train.steps=20", "train.batch_size=4", "train.evaluate_tokens=512", "train.device=cpu", "sample.tokens=10",
        'sample.prompts=["the "]',
    ]  # fmt: skip
    done = installed("run", str(corpus), *(word for setting in settings for word in ("--set", setting)))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the ")
    assert "bits per byte" in done.stdout
    [run] = all_runs(Workspace())
    log = run.log.read_text()
    assert "HOSTILE" not in log + done.stdout + done.stderr
