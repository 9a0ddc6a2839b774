"""Rendering on a Ray cluster (extra `scale`): assets and backgrounds travel to the nodes, images come back.

The cluster is the one that RAY_ADDRESS names or that this machine belongs to, else one of this machine's own.
A task lost with its node runs again elsewhere; as image i is a function of the job and i alone, it gives the
same bytes.
"""

import logging
import os
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from synth.dataset.store import StoredImage
from synth.errors import EnvironmentProblem
from synth.generate.images import Images, in_order
from synth.generate.job import RenderJob
from synth.objects.library import Library
from synth.system.cache import cache_folder, publish
from synth.system.pool import Pool
from synth.system.worker import tune_worker

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise EnvironmentProblem("no package ray; install it with: pip install 'meshmark[scale]'") from error
RETRIES = 3
"""How often an image is begun again when its process or node dies."""


def render_on_ray(job: RenderJob, library: Library, indices: range, workers: int) -> Generator[StoredImage]:
    """The images of these indices, in order. workers: tasks at once; 0 keeps all cores of the cluster busy.

    Raises EnvironmentProblem when the cluster cannot be had or an image is lost RETRIES times.
    """
    joined = ray.is_initialized()
    try:
        if not joined:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        parcel = _parcel(job, library)
        task = ray.remote(max_retries=RETRIES, num_cpus=1)(_render)
        window = workers or 4 * max(1, int(ray.cluster_resources().get("CPU", 0)))
        yield from in_order(lambda index: task.remote(parcel, index).future(), indices, window)
    except RayTaskError as error:
        raise error.cause from None
    except (RayError, ConnectionError) as error:
        text = str(error).strip().splitlines()[0]
        raise EnvironmentProblem(f"Ray: {text}; run again to go on where it stopped") from error
    finally:
        if not joined:
            ray.shutdown()


Parcel = dict[str, Any]
POOLS = ("photos", "environments", "meshes")
"""Fields of a Library."""


def _parcel(job: RenderJob, library: Library) -> Parcel:
    """References to what a node needs; as they lie in a dictionary, Ray passes them on unopened."""
    pools: dict[str, Pool | None] = {name: getattr(library, name) for name in POOLS}
    packed = {name: _packed(pool) for name, pool in pools.items() if pool}
    return {"job": ray.put((job, library)), "pools": packed}


def _packed(pool: Pool) -> tuple[str, dict[str, Any]]:
    """The digest of the pool's files, and references to their contents."""
    files = (*pool.names, *pool.beside)
    return pool.digest(), {name: ray.put(pool.path(name).read_bytes()) for name in files}


_opened: tuple[str, Images] | None = None


def _render(parcel: Parcel, index: int) -> StoredImage:
    """In a worker process of Ray, which keeps the images of one job open from task to task."""
    global _opened
    key = parcel["job"].hex()
    if _opened is None or _opened[0] != key:
        _opened = key, _open(parcel)
    return _opened[1].stored(index)


def _open(parcel: Parcel) -> Images:
    tune_worker()
    job, library = ray.get(parcel["job"])
    moved = {
        name: replace(getattr(library, name), folder=_folder(*packed))
        for name, packed in parcel["pools"].items()
    }
    return Images(job, replace(library, **moved))


def _folder(digest: str, files: dict[str, Any]) -> Path:
    """The folder of a pool's files on this node."""
    folder = cache_folder() / f"pool-{digest}"
    if not folder.is_dir():
        publish(folder, lambda new: _unpack(files, new))
    return folder


def _unpack(files: dict[str, Any], folder: Path) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(ray.get(content))
