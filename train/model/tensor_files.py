"""Tensors in safetensors files: looked at in the header before they are read, and refused where they do not
fit."""

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load
from torch import Tensor

from synth.errors import DataError
from synth.system.json_files import parse_json
from synth.system.untrusted import open_untrusted, read_untrusted

MAX_BYTES = 8 << 30
MAX_HEADER_BYTES = 16 << 20
LISTED = 8
Look = tuple[str, tuple[int, ...]]
"""Type and shape of a tensor, as the header writes them: "F32", (64, 3)."""
TYPES = {torch.float32: "F32", torch.int64: "I64"}
"""Of the tensors that a network or an optimizer has."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name, on the CPU. Raises DataError if it cannot be read."""
    try:
        return load(read_untrusted(path, MAX_BYTES))
    except (OSError, safetensors.SafetensorError, KeyError) as error:
        raise DataError(f"{path}: not readable as safetensors: {error!s:.200}") from error


def read_header(path: Path) -> dict[str, Look]:
    """What the file's tensors are, by name, without reading them. Raises DataError for one that is no
    safetensors file."""
    try:
        with open_untrusted(path) as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if size > min(MAX_HEADER_BYTES, os.fstat(file.fileno()).st_size):
                raise DataError(f"{path}: not readable as safetensors: a header of {size} bytes")
            raw = parse_json(file.read(size).decode(), str(path))
        return {
            name: (str(entry["dtype"]), tuple(int(side) for side in entry["shape"]))
            for name, entry in raw.items()
            if name != "__metadata__"
        }
    except DataError:
        raise
    except (OSError, struct.error, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise DataError(f"{path}: not readable as safetensors: {error!s:.200}") from error


def check_header(path: Path, wanted: Mapping[str, Tensor]) -> None:
    """Raises DataError unless the file holds tensors as `wanted`, which may be on no device ("meta")."""
    refuse_misfits(read_header(path), wanted, str(path))


def refuse_misfits(found: Mapping[str, Look], wanted: Mapping[str, Tensor], where: str) -> None:
    """Raises DataError listing the tensors that are not in both alike."""
    own = {name: look_of(tensor) for name, tensor in wanted.items()}
    wrong = [
        f"{name} {_text(found[name], own[name])} instead of {_text(own[name], found[name])}"
        for name in own.keys() & found.keys()
        if own[name] != found[name]
    ]
    wrong += [f"{name} missing" for name in own.keys() - found.keys()]
    wrong += [f"{name} unknown" for name in found.keys() - own.keys()]
    if wrong:
        raise DataError(f"{where}: {len(wrong)} tensors do not fit the network: {'; '.join(sorted(wrong))}")


def refuse_not_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raises DataError listing the tensors that hold a NaN or an infinity."""
    wrong = [n for n, t in tensors.items() if t.is_floating_point() and not bool(t.isfinite().all())]
    if wrong:
        raise DataError(f"{where}: {len(wrong)} tensors are not finite: {'; '.join(sorted(wrong)[:LISTED])}")


def look_of(tensor: Tensor) -> Look:
    return TYPES.get(tensor.dtype, str(tensor.dtype).removeprefix("torch.")), tuple(tensor.shape)


def _text(look: Look, other: Look) -> str:
    """The shape, and the type where that of the other is another."""
    return f"{look[1]}" if look[0] == other[0] else f"{look[0]} {look[1]}"


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's per-parameter tensors, named INDEX.KEY."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {f"{i}.{key}": value for i, entry in state.items() for key, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], where: str) -> None:
    """Raises DataError naming `where` for tensors of another network's parameters, and for such that are not
    finite."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        own = parameters[int(index)] if index.isdecimal() and int(index) < len(parameters) else None
        if own is None or (value.ndim and value.shape != own.shape) or value.dtype != torch.float32:
            raise DataError(
                f"{where}: {name} {value.dtype} {tuple(value.shape)} fits no parameter of the network"
            )
        state.setdefault(int(index), {})[key] = value
    refuse_not_finite(tensors, where)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
