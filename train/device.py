"""The device a command runs on, and process settings that make few, shared cores fast."""

import os

from synth.errors import ConfigError
from synth.system.worker import keep_memory


def tune_cpu() -> None:
    """Lets waiting threads sleep and freed memory be kept. Call before torch is imported.

    torch's threads otherwise spin while they wait: beside a data loader or any other busy process a step
    took 2 to 20 times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_memory()


def chosen_device(name: str | None) -> str:
    """`cpu` or `cuda` as --device takes it; None: cuda where there is one. Raises ConfigError."""
    import torch

    has_cuda = torch.cuda.is_available()
    if name is None:
        return "cuda" if has_cuda else "cpu"
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"--device: {name!r}, expected cpu or cuda")
    if name == "cuda" and not has_cuda:
        raise ConfigError("--device: cuda asked for, but torch finds no CUDA device")
    return name
