"""Snapshots of a run: OUT/best and OUT/last, each safetensors and JSON, nothing pickled.

`meta.json` says what the weights are for; `last` also holds what continues the run. A snapshot is written
beside its place and swapped in whole, so a killed run leaves the old one or the new one.
"""

import fcntl
import json
import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from synth.dataset.coco import Category, category_from_json, category_to_json
from synth.dataset.formats.table import label_files
from synth.errors import DataError, EnvironmentProblem, UserError
from synth.system.files import sync_below, sync_folder
from synth.system.json_files import MAX_JSON_BYTES, read_json
from synth.system.untrusted import read_untrusted
from synth.types import Array
from train.config import TrainConfig, saved_config
from train.model.build import build_model
from train.model.detector import KeypointDetector
from train.model.heatmaps import UNCALIBRATED, Calibration
from train.model.tensor_files import (
    MAX_BYTES,
    check_header,
    look_of,
    read_tensors,
    refuse_misfits,
    refuse_not_finite,
)

log = logging.getLogger(__name__)
FORMAT = 3
MAX_OBJECTS, MAX_KEYPOINTS = 1000, 1000
REPLACED = ".replaced"
"""In a snapshot that is being swapped in: the one before."""
MODEL, META, OPTIM, STATE = "model.safetensors", "meta.json", "optim.safetensors", "state.json"
Points = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Meta:
    """What the weights are for and where they come from.

    categories: in the order of their labels, which count from 1. keypoints_m: of each, in its object frame,
    where known. data: annotation source -> SHA-256 of its labels. calibration: of what is said of each one's
    keypoints, fitted on the validation images. smallest_share: longer side of the smallest objects in the
    training images, as a share of the picture's; None where not known.
    """

    config: TrainConfig
    categories: tuple[Category, ...]
    keypoints_m: tuple[Points | None, ...]
    step: int
    score: float | None
    data: dict[str, str]
    calibration: tuple[Calibration, ...]
    smallest_share: float | None = None


def make_meta(
    config: TrainConfig,
    categories: Sequence[Category],
    keypoints_m: Sequence[Array | None],
    data: dict[str, str],
    step: int = 0,
    smallest_share: float | None = None,
) -> Meta:
    """Meta of weights without a score and a calibration yet. keypoints_m: (K, 3) of each category, or
    None."""
    points, untouched = tuple(map(_points, keypoints_m)), (UNCALIBRATED,) * len(categories)
    return Meta(config, tuple(categories), points, step, None, data, untouched, smallest_share)


def _points(rows: Any) -> Points | None:
    return None if rows is None else tuple((float(x), float(y), float(z)) for x, y, z in rows)


def _calibration(pairs: Any) -> Calibration:
    return Calibration(*((float(slope), float(offset)) for slope, offset in pairs))


def labels_hash(path: Path) -> str:
    """SHA-256 over the annotation files of a data set, in name order."""
    digest = sha256()
    for file in label_files(path):
        digest.update(read_untrusted(file, MAX_JSON_BYTES))
    return digest.hexdigest()


def weights_hash(folder: Path) -> str:
    """SHA-256 of a snapshot's weights."""
    try:
        return sha256(read_untrusted(folder / MODEL, MAX_BYTES)).hexdigest()
    except OSError as error:
        raise DataError(f"{folder / MODEL}: not readable: {error.strerror}") from error


def write_snapshot(
    folder: Path,
    meta: Meta,
    model: dict[str, Tensor],
    optimizer: dict[str, Tensor] | None = None,
    state: dict[str, Any] | None = None,
) -> None:
    """Writes `folder` whole: weights and meta.json, and with `optimizer` and `state` what resumes the run.

    Whoever writes the same snapshot meanwhile waits. Afterwards the snapshot is on the disk, power cuts
    included.
    """
    with _beside(folder) as new:
        try:
            save_file(_plain(model), new / MODEL)
            if optimizer is not None:
                save_file(_plain(optimizer), new / OPTIM)
        except SafetensorError as error:
            shutil.rmtree(new)
            raise EnvironmentProblem(f"{folder}: cannot be written: {error}") from error
        if optimizer is not None:
            (new / STATE).write_text(json.dumps(state), encoding="utf-8")
        (new / META).write_text(json.dumps(_meta_to_json(meta), indent=1), encoding="utf-8")
        sync_below(new)
        if folder.exists():
            folder.rename(new / REPLACED)
        new.rename(folder)
        sync_folder(folder.parent)
        shutil.rmtree(folder / REPLACED, ignore_errors=True)


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, locked against other processes until the block ends, in which it takes
    its place."""
    new = folder.with_name(f".{folder.name}.new")
    while True:
        new.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(new, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # another process was just done with it
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if new.exists() and os.path.samestat(os.fstat(descriptor), new.stat()):
                recover(folder)
                for left in new.iterdir() if new.exists() else ():
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
                if new.exists():
                    yield new
                    return
        finally:
            os.close(descriptor)


def recover(folder: Path) -> None:
    """Finishes a swap that was cut off between its two renames, when the new snapshot was complete."""
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    if not folder.exists():
        for whole in (new, old, new / REPLACED):
            if (whole / META).exists():
                whole.rename(folder)
                break
    shutil.rmtree(folder / REPLACED, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def read_meta(folder: Path) -> Meta:
    """Raises DataError if the folder holds no snapshot or a damaged one."""
    where = str(folder / META)
    raw = read_json(folder / META)
    try:
        if raw["format"] != FORMAT:
            raise DataError(
                f"{where}: format {raw['format']}, expected {FORMAT}; it was written by another version of "
                "Meshmark, train again"
            )
        if not MAX_OBJECTS >= len(raw["objects"]) == len(raw["keypoints_m"]) == len(raw["calibration"]) > 0:
            raise DataError(f"{where}: objects, keypoints_m and calibration are not equally many")
        meta = Meta(
            config=saved_config(raw["config"], where),
            categories=tuple(category_from_json(entry, where) for entry in raw["objects"]),
            keypoints_m=tuple(map(_points, raw["keypoints_m"])),
            step=int(raw["step"]),
            score=raw["score"],
            data=dict(raw["data"]),
            calibration=tuple(map(_calibration, raw["calibration"])),
            smallest_share=raw.get("smallest_share"),
        )
        if max(len(category.schema) for category in meta.categories) > MAX_KEYPOINTS:
            raise DataError(f"{where}: an object of more than {MAX_KEYPOINTS} keypoints")
        if meta.score is not None and not 0 <= float(meta.score) <= 1:
            raise DataError(f"{where}: score {meta.score!r:.40}, expected 0 to 1")
        if meta.smallest_share is not None and not 0 < float(meta.smallest_share) <= 1:
            raise DataError(f"{where}: smallest_share {meta.smallest_share!r:.40}, expected above 0 to 1")
        if not np.isfinite(meta.calibration).all():
            raise DataError(f"{where}: calibration is not finite")
        return meta
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        raise DataError(f"{where}: not a snapshot's description: {error!r}") from error


def _read_categories(folder: Path) -> tuple[Category, ...]:
    """The objects of a snapshot of any version. Raises DataError as read_meta does."""
    where = str(folder / META)
    try:
        return tuple(category_from_json(entry, where) for entry in read_json(folder / META)["objects"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{where}: not a snapshot's description: {error!r}") from error


def provenance(folder: Path) -> list[tuple[str, str]]:
    """Where a snapshot comes from, as names and values."""
    raw = read_json(folder / META)
    versions = ", ".join(f"{name} {version}" for name, version in raw.get("versions", {}).items())
    return [
        ("weights", str(folder)),
        ("their SHA-256", weights_hash(folder)),
        ("trained", f"{raw.get('step')} steps, seed {raw.get('seed')}, commit {raw.get('commit')}"),
        ("with", versions),
        *((f"training labels {path}, SHA-256", digest) for path, digest in raw.get("data", {}).items()),
    ]


def load_model(folder: Path) -> tuple[KeypointDetector, Meta]:
    """The detector of a snapshot, in evaluation mode on the CPU. The file's header is compared with what the
    config asks for before anything is built. Raises DataError for what does not fit."""
    meta, path = read_meta(folder), folder / MODEL
    with torch.device("meta"):
        wanted = network_for(meta, vendor=False).state_dict()
    check_header(path, wanted)
    model = network_for(meta, vendor=False)
    load_weights(model, read_tensors(path), str(path))
    model.calibration = torch.tensor(meta.calibration)
    return model.eval(), meta


def network_for(meta: Meta, vendor: bool) -> KeypointDetector:
    """A network with a class for each category and the background, and the most keypoints of a category."""
    most = max(len(category.schema) for category in meta.categories)
    return build_model(meta.config.model, 1 + len(meta.categories), most, vendor)


def load_weights(model: torch.nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Loads every tensor or raises DataError listing those that do not fit or are not finite."""
    own = model.state_dict()
    refuse_misfits({name: look_of(tensor) for name, tensor in tensors.items()}, own, where)
    refuse_not_finite(tensors, where)
    model.load_state_dict(tensors)


def warm_start(model: torch.nn.Module, folder: Path) -> None:
    """Loads those tensors of another snapshot that fit in name and shape, and logs every one that does not.

    The snapshot may be of an earlier version. Raises DataError for no snapshot, and if none fits.
    """
    objects = ", ".join(f"{c.name} (K = {len(c.schema)})" for c in _read_categories(folder))
    tensors, own = read_tensors(folder / MODEL), model.state_dict()
    refuse_not_finite(tensors, str(folder / MODEL))
    fitting = {n: t for n, t in tensors.items() if n in own and look_of(own[n]) == look_of(t)}
    if not fitting:
        raise DataError(f"{folder}: none of its {len(tensors)} tensors fits the network")
    for name in sorted(tensors.keys() - fitting.keys()):
        place = f"the network has {tuple(own[name].shape)}" if name in own else "the network has none such"
        log.info("%s: skipped %s %s, %s", folder, name, tuple(tensors[name].shape), place)
    for name in sorted(own.keys() - tensors.keys()):
        log.info("%s: lacks %s, left at its start", folder, name)
    log.info("%s: %d of %d tensors loaded, trained on %s", folder, len(fitting), len(tensors), objects)
    model.load_state_dict(fitting, strict=False)


def check_object(weights: Category, wanted: Category, where: str) -> None:
    """Raises DataError if the weights' keypoints are not the object's, in count, name and order."""
    have, want = weights.schema.names, wanted.schema.names
    if have != want:
        raise DataError(
            f"{where}: the weights are for {weights.name} with K = {len(have)} [{', '.join(have)}], "
            f"{wanted.name} has K = {len(want)} [{', '.join(want)}]"
        )


def check_objects(weights: Sequence[Category], wanted: Sequence[Category], where: str) -> None:
    """Raises DataError if the weights are not for these objects in this order."""
    have, want = ([category.name for category in some] for some in (weights, wanted))
    if len(have) != len(want) or (len(have) > 1 and have != want):
        raise DataError(f"{where}: the weights are for {', '.join(have)}, asked for {', '.join(want)}")
    for own, other in zip(weights, wanted, strict=True):
        check_object(own, other, where)


def label_of(weights: Sequence[Category], wanted: Category, where: str) -> int:
    """Which of the weights' categories the object is, counted from 1: the only one, or that of its name.

    Raises DataError if there is none, or its keypoints are others.
    """
    names = [category.name for category in weights]
    if len(weights) > 1 and wanted.name not in names:
        raise DataError(f"{where}: the weights are for {', '.join(names)}, not for {wanted.name}")
    at = names.index(wanted.name) if len(weights) > 1 else 0
    check_object(weights[at], wanted, where)
    return at + 1


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _meta_to_json(meta: Meta) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "objects": [category_to_json(category) for category in meta.categories],
        "keypoints_m": meta.keypoints_m,
        "step": meta.step,
        "score": meta.score,
        "seed": meta.config.seed,
        "data": meta.data,
        "calibration": meta.calibration,
        "smallest_share": meta.smallest_share,
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
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed, maybe below someone else's checkout
        return None
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
