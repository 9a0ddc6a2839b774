"""The device a command runs on, and process settings that make few, shared cores fast."""

import ctypes
import os

from synth.errors import ConfigError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
INT_MAX = 2**31 - 1


def tune_cpu() -> None:
    """Lets waiting threads sleep, and the C library keep freed memory. Call before torch is imported.

    torch's threads otherwise spin while they wait: beside a data loader or any other busy process a step
    took 2 to 20 times as long. And each large tensor would be mapped and zeroed afresh by the kernel: a
    sixth of a step's processor time.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, INT_MAX)


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
