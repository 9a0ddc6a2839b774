"""The wheel: what is in it, and that it works in another folder, without the repository."""

import json
import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "synth", "train", "assets", "configs")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input")
QUIET = ("--backgrounds", "none", "--environments", "none")

pytestmark = [pytest.mark.slow, pytest.mark.gl]


def run(*command: str, cwd: Path) -> str:
    """What the command prints; PYTHONPATH, which would find the repository, is not passed on."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shipped() -> set[str]:
    """Names in the wheel of everything in the repository that the program needs."""
    code = {p for package in ("synth", "train") for p in (ROOT / package).rglob("*.py")}
    code |= {
        p for folder in ("synth/render/shaders", "train/score/templates") for p in (ROOT / folder).iterdir()
    }
    names = {path.relative_to(ROOT).as_posix() for path in code}
    objects = {p for p in (ROOT / "assets").rglob("*") if p.is_file() and p.parent != ROOT / "assets"}
    data = {p for p in objects if p.suffix not in (".py", ".pyc")} | {*(ROOT / "configs").rglob("*.yaml")}
    return names | {f"synth/_data/{path.relative_to(ROOT).as_posix()}" for path in data}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources: no build leaves anything in the repository, or finds it there."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        take: Callable[..., object] = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        take(ROOT / name, source / name)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(built))
    run(*PIP, "wheel", *options, ".", cwd=source)
    return next(built.glob("meshmark-*.whl"))


def test_wheel_holds_the_packages_and_their_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == shipped()
    assert {"synth/_data/assets/chessboard/object.yaml", "synth/_data/configs/train/cpu.yaml"} < names


def test_installed_wheel_renders_trains_scores_and_exports(wheel: Path, tmp_path: Path) -> None:
    home, work = tmp_path / "venv", tmp_path / "work"
    work.mkdir()
    venv.create(home, symlinks=True)
    python, meshmark = str(home / "bin" / "python"), str(home / "bin" / "meshmark")
    run(*PIP, "--python", python, "install", "--no-deps", "--no-index", str(wheel), cwd=work)
    # The packages Meshmark needs are those this test runs with; path files there, as of the repository, do
    # not count.
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=work).strip()
    (Path(packages) / "installed.pth").write_text("\n".join(site.getsitepackages()))

    code = "import synth.objects.load as o, train; print(o.__file__, o.ASSETS, train.__file__, sep='\\n')"
    for place in run(python, "-c", code, cwd=work).splitlines():
        assert place.startswith(packages)
    assert run(meshmark, "--version", cwd=work) == "meshmark 0.1.0\n"
    run(
        meshmark,
        "render",
        "--object",
        "chessboard",
        "--n",
        "3",
        "--out",
        "set",
        "--workers",
        "1",
        *QUIET,
        cwd=work,
    )
    few = ("--preset", "cpu", "--steps", "2", "--workers", "0", "--device", "cpu")
    run(meshmark, "train", "--object", "chessboard", "--synth", "set", *few, "--out", "run", cwd=work)
    run(
        meshmark,
        "eval",
        "run",
        "--object",
        "chessboard",
        "--real",
        "set",
        "--out",
        "eval",
        "--device",
        "cpu",
        cwd=work,
    )
    run(meshmark, "export", "run", "--out", "detector.onnx", cwd=work)
    run(meshmark, "asset", "check", "sailboat", cwd=work)

    assert json.loads((work / "eval" / "eval.json").read_text())["n_images"] == 3
    assert (work / "eval" / "report.html").is_file()
    assert (work / "detector.onnx").stat().st_size > 1_000_000
    assert (work / "runs" / "sailboat" / "turntable.png").is_file()
    assert sorted(p.name for p in work.iterdir()) == ["detector.onnx", "eval", "run", "runs", "set"]
