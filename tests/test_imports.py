"""The plan of the house: rooms import downwards only, synth stands alone, train takes little from it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SYNTH = [
    *("errors", "text", "checks", "types", "asset", "geometry", "system", "cameras", "config", "sensor"),
    *("objects", "scene", "render", "labels", "dataset", "generate", "fetch", "inspect", "doctor", "cli"),
]
"""The rooms of synth, modules and sub-packages, from the ground up: each imports only those before it."""
TRAIN = [
    *("backbones", "config", "device", "runtime", "types", "data", "model", "detect", "score", "run"),
    *("doctor", "demo", "cli_training", "cli_use", "cli", "start"),
]
TRAIN_MAY_IMPORT = {
    *("errors", "text", "types", "asset", "geometry", "system", "cameras", "config", "objects", "dataset"),
    *("generate", "fetch", "inspect", "doctor", "cli"),
}
"""Not what a picture shows and how it is drawn, which is none of train's business."""
SYNTH_NEVER_IMPORTS = {"timm", "torch", "torchvision", "train"}
FILES = sorted(path for package in ("synth", "train") for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Modules named in the file's import statements, `from a import b` as a.b where that is a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if is_module(name) else node.module for name in inner}
    return names


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or path.is_dir()


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(module: str) -> str:
    """`objects` of synth.objects.load; '' of synth itself."""
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_rooms_import_only_what_lies_below(path: Path) -> None:
    module = module_of(path)
    package = module.split(".")[0]
    order = SYNTH if package == "synth" else TRAIN
    if not room(module):
        assert not imported(path)
        return
    floor = order.index(room(module))
    for name in imported(path):
        if name.split(".")[0] == package and room(name) != room(module):
            assert order.index(room(name)) < floor, f"{module} imports {name}, which lies above it"


def test_no_modules_import_one_another_in_a_circle() -> None:
    graph = {module_of(path): {n for n in imported(path) if is_module(n)} for path in FILES}

    def walk(module: str, way: tuple[str, ...], done: set[str]) -> Iterator[tuple[str, ...]]:
        if module in way:
            yield (*way[way.index(module) :], module)
        elif module not in done:
            for other in sorted(graph.get(module, ())):
                yield from walk(other, (*way, module), done)
            done.add(module)

    done: set[str] = set()
    assert [circle for module in graph for circle in walk(module, (), done)] == []


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_synth_imports_neither_train_nor_torch_and_train_few_rooms_of_synth(path: Path) -> None:
    module = module_of(path)
    for name in imported(path):
        if module.startswith("synth"):
            assert name.split(".")[0] not in SYNTH_NEVER_IMPORTS, f"{module} imports {name}"
        elif name.startswith("synth."):
            assert room(name) in TRAIN_MAY_IMPORT, f"{module} imports {name}"


def test_every_package_says_in_a_sentence_what_it_is() -> None:
    for path in FILES:
        if path.name == "__init__.py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert ast.get_docstring(tree), path
            assert len(tree.body) == 1, f"{path}: holds more than its docstring"


def test_importing_all_of_synth_loads_no_torch() -> None:
    modules = [module_of(p) for p in FILES if p.is_relative_to(ROOT / "synth") and "pyrender" not in p.name]
    loaded = "{'torch', 'train'} & set(sys.modules) or 'neither'"
    code = f"import sys; [__import__(m) for m in {modules}]; print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "neither"
