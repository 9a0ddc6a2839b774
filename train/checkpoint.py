"""Snapshots of a run: OUT/best and OUT/last, each safetensors and JSON, nothing pickled.

`meta.json` says what the weights are for; `last` also holds what continues the run. A snapshot is written
beside its place and swapped in whole, so a killed run leaves the old one or the new one.
"""

import json
import platform
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor

from synth.coco import Category, category_from_json, category_to_json, read_json
from synth.errors import DataError
from synth.types import Array
from train.config import TrainConfig, parse_config
from train.datasets import annotation_files
from train.model import KeypointDetector, build_model

FORMAT = 1
MODEL, META, OPTIM, STATE = "model.safetensors", "meta.json", "optim.safetensors", "state.json"
NUM_CLASSES = 2


@dataclass(frozen=True)
class Meta:
    """What the weights are for and where they come from. data: annotation source -> SHA-256 of its labels."""

    config: TrainConfig
    category: Category
    keypoints_m: tuple[tuple[float, float, float], ...] | None
    step: int
    score: float | None
    data: dict[str, str]


def describe(
    config: TrainConfig, category: Category, keypoints_m: Array | None, data: dict[str, str], step: int = 0
) -> Meta:
    points = None if keypoints_m is None else tuple((float(x), float(y), float(z)) for x, y, z in keypoints_m)
    return Meta(config, category, points, step, None, data)


def labels_hash(path: Path) -> str:
    """SHA-256 over the annotation files of a data set, in name order."""
    digest = sha256()
    for file in annotation_files(path):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def write_snapshot(
    folder: Path,
    meta: Meta,
    model: dict[str, Tensor],
    optimizer: dict[str, Tensor] | None = None,
    state: dict[str, Any] | None = None,
) -> None:
    """Writes `folder` whole: weights and meta.json, and with `optimizer` and `state` what resumes the run."""
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    recover(folder)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    save_file(_plain(model), new / MODEL)
    if optimizer is not None:
        save_file(_plain(optimizer), new / OPTIM)
        (new / STATE).write_text(json.dumps(state), encoding="utf-8")
    (new / META).write_text(json.dumps(_meta_to_json(meta), indent=1), encoding="utf-8")
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def recover(folder: Path) -> None:
    """Finishes a swap that was cut off between its two renames, when the new snapshot was complete."""
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    if not folder.exists() and old.exists():
        (new if (new / META).exists() else old).rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def read_meta(folder: Path) -> Meta:
    """Raises DataError if the folder holds no snapshot or a damaged one."""
    where = str(folder / META)
    raw = read_json(folder / META)
    try:
        if raw["format"] != FORMAT:
            raise DataError(f"{where}: format {raw['format']}, expected {FORMAT}")
        return Meta(
            config=parse_config(raw["config"], where),
            category=category_from_json(raw["object"], where),
            keypoints_m=None if raw["keypoints_m"] is None else tuple(map(tuple, raw["keypoints_m"])),
            step=int(raw["step"]),
            score=raw["score"],
            data=dict(raw["data"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where}: not a snapshot's description: {error!r}") from error


def provenance(folder: Path) -> list[tuple[str, str]]:
    """Where a snapshot comes from, as names and values."""
    raw = read_json(folder / META)
    versions = ", ".join(f"{name} {version}" for name, version in raw.get("versions", {}).items())
    return [
        ("weights", str(folder)),
        ("their SHA-256", sha256((folder / MODEL).read_bytes()).hexdigest()),
        ("trained", f"{raw.get('step')} steps, seed {raw.get('seed')}, commit {raw.get('commit')}"),
        ("with", versions),
        *((f"training labels {path}, SHA-256", digest) for path, digest in raw.get("data", {}).items()),
    ]


def read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise DataError(f"{path}: not readable as safetensors: {error}") from error


def load_model(folder: Path) -> tuple[KeypointDetector, Meta]:
    """The detector of a snapshot, in evaluation mode on the CPU."""
    meta = read_meta(folder)
    model = build_model(meta.config.model, NUM_CLASSES, len(meta.category.schema), vendor=False)
    load_weights(model, read_tensors(folder / MODEL), str(folder / MODEL))
    return model.eval(), meta


def load_weights(model: torch.nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Loads every tensor or raises DataError listing those that do not fit."""
    own = model.state_dict()
    wrong = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    ]
    wrong += [f"{name} missing" for name in own.keys() - tensors.keys()]
    wrong += [f"{name} unknown" for name in tensors.keys() - own.keys()]
    if wrong:
        raise DataError(f"{where}: {len(wrong)} tensors do not fit the network: {'; '.join(sorted(wrong))}")
    model.load_state_dict(tensors)


def check_object(weights: Category, wanted: Category, where: str) -> None:
    """Raises DataError if the weights' keypoints are not the object's, in count, name and order."""
    have, want = weights.schema.names, wanted.schema.names
    if have != want:
        raise DataError(
            f"{where}: the weights are for {weights.name} with K = {len(have)} [{', '.join(have)}], "
            f"{wanted.name} has K = {len(want)} [{', '.join(want)}]"
        )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's per-parameter tensors, named INDEX.KEY."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{key}": value for i, entry in state.items() for key, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _meta_to_json(meta: Meta) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "object": category_to_json(meta.category),
        "keypoints_m": meta.keypoints_m,
        "num_classes": NUM_CLASSES,
        "num_keypoints": len(meta.category.schema),
        "step": meta.step,
        "score": meta.score,
        "seed": meta.config.seed,
        "data": meta.data,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
        "commit": _commit(),
        "config": meta.config.model_dump(mode="json"),
    }


@lru_cache(maxsize=1)
def _commit() -> str | None:
    """The checkout's commit, if this runs from one."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
