"""The layering: synth stands alone, and train takes little from it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TRAIN_MAY_IMPORT = {
    "synth.assets",
    "synth.calibration",
    "synth.cli",
    "synth.coco",
    "synth.config",
    "synth.doctor",
    "synth.draw",
    "synth.errors",
    "synth.faults",
    "synth.fetch",
    "synth.files",
    "synth.formats.images",
    "synth.formats.shapes",
    "synth.generate",
    "synth.geometry",
    "synth.preview",
    "synth.progress",
    "synth.sample",
    "synth.scene_json",
    "synth.shards",
    "synth.worker",
    "synth.types",
    "synth.validate",
    "synth.yaml",
}
SYNTH_NEVER_IMPORTS = {"timm", "torch", "torchvision", "train"}


def imported(path: Path) -> set[str]:
    """Modules named in the file's import statements, `from a import b` as both a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_files(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or path.is_dir()


@pytest.mark.parametrize("path", files_of("synth"), ids=lambda p: str(p.relative_to(ROOT)))
def test_synth_imports_neither_train_nor_torch(path: Path) -> None:
    for name in imported(path):
        prefixes = {".".join(name.split(".")[: i + 1]) for i in range(name.count(".") + 1)}
        assert not prefixes & SYNTH_NEVER_IMPORTS, f"{path} imports {name}"


@pytest.mark.parametrize("path", files_of("train"), ids=lambda p: str(p.relative_to(ROOT)))
def test_train_imports_only_the_named_modules_of_synth(path: Path) -> None:
    modules = {n for n in imported(path) if n.startswith("synth.") and module_files(n)}
    assert modules <= TRAIN_MAY_IMPORT


def test_importing_all_of_synth_loads_no_torch() -> None:
    modules = [
        str(p.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__")
        for p in files_of("synth")
        if "pyrender" not in p.name
    ]
    loaded = "{'torch', 'train'} & set(sys.modules) or 'neither'"
    code = f"import sys; [__import__(m) for m in {modules}]; print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "neither"
