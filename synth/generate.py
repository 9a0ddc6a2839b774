"""The loop that renders a data set: workers, progress, resume, manifest.

Workers render; this process alone writes. synth.store keeps images and log; `annotations.json` is derived
from the log, an image at a time.
"""

import hashlib
import json
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from synth.assets import load_object
from synth.background import photo_names
from synth.coco import Annotation, Category, ImageLabels, read_json, write_coco
from synth.config import EXECUTORS, LAYOUTS, RENDERERS, SynthConfig
from synth.environment import environment_names
from synth.errors import DataError, EnvironmentProblem
from synth.files import locked, write_text
from synth.instance import Library
from synth.labels import make_labels
from synth.lens import take
from synth.mesh_pool import open_pool
from synth.progress import track
from synth.render import Renderer, open_renderer
from synth.sample import sample_scene, stream
from synth.scene_json import scene_to_json
from synth.sensor import apply, encode_jpeg
from synth.store import Image, Store, find_store, open_store
from synth.types import Labels, SceneSpec
from synth.worker import deaf_to_interrupts, tune_worker

MANIFEST, ANNOTATIONS = "manifest.json", "annotations.json"
FORMAT = 7
VERSIONS = ("moderngl", "numpy", "opencv-python-headless", "OpenEXR", "pyrender2", "trimesh")


@dataclass(frozen=True)
class RenderJob:
    """What to render: image i is a function of these and i alone."""

    object_path: str
    config: SynthConfig
    backgrounds: Path | None
    seed: int
    renderer: str = RENDERERS[0]
    environments: Path | None = None

    def library(self) -> Library:
        photos = photo_names(self.backgrounds) if self.backgrounds else ()
        maps = environment_names(self.environments) if self.environments else ()
        meshes = self.config.distractors.meshes
        return Library(
            (load_object(self.object_path),),
            photos,
            open_pool(Path(meshes)) if meshes else None,
            maps,
            self.backgrounds,
        )


def render_image(
    job: RenderJob, library: Library, renderer: Renderer, index: int
) -> tuple[bytes, SceneSpec, Labels]:
    """JPEG bytes, scene and labels of image `index`."""
    scene = sample_scene(job.config, library, job.seed, index)
    result = take(renderer, scene)
    noise = stream(job.seed, index, "sensor noise")
    picture = apply(result.rgb, scene.sensor, noise, result.instance_id > 0)
    return encode_jpeg(picture, scene.sensor.jpeg_quality), scene, make_labels(scene, library, result)


def generate(
    job: RenderJob,
    out: Path,
    count: int,
    workers: int = 0,
    executor: str = EXECUTORS[0],
    layout: str = LAYOUTS[0],
) -> int:
    """Renders images until `out` holds `count` of them; returns how many were new.

    workers: processes, or tasks at once on Ray; 0 for one per core. Raises DataError when `out` holds a data
    set of another config, object, pool, seed or layout, or something else, or another run writes there;
    EnvironmentProblem when the disk or a worker fails: what was rendered stays, and the next call goes on
    behind it.
    """
    library = job.library()
    store = open_store(out, layout)
    try:
        _claim(job, library, out, layout)
        with locked(out / MANIFEST):
            done = store.recover()
            if done < count:
                (out / ANNOTATIONS).unlink(missing_ok=True)  # else a run cut off would leave those of fewer
                with closing(rendered(job, library, range(done, count), workers, executor)) as images:
                    for _ in track(store.append(done, images), total=count, label="render", start=done):
                        pass
            if not (out / ANNOTATIONS).exists():
                write_annotations(out, library, store)
    except BlockingIOError as error:
        raise DataError(f"{out}: another run is writing there") from error
    except OSError as error:
        raise EnvironmentProblem(f"{out}: {error.strerror}; mend that and run again to go on") from error
    return max(0, count - done)


def rendered(
    job: RenderJob, library: Library, indices: range, workers: int, executor: str
) -> Generator[Image]:
    """The images of these indices, in order."""
    if executor == "processes":
        return _render_in_processes(job, indices, workers or os.cpu_count() or 1)
    from synth.on_ray import render_on_ray

    return render_on_ray(job, library, indices, workers)


def write_annotations(out: Path, library: Library, store: Store) -> None:
    """annotations.json from the log."""
    categories = [Category(a.category_id, a.name, a.schema) for a in library.objects]
    images = (_image_labels(json.loads(row), store) for row in store.rows())
    write_coco(out / ANNOTATIONS, categories, images)


def read_log(out: Path) -> Iterator[dict[str, Any]]:
    """The rows of a rendered data set's log: index, scene, annotations. Raises DataError at a torn one."""
    for number, row in enumerate(find_store(out).rows()):
        try:
            yield json.loads(row)
        except ValueError as error:
            raise DataError(
                f"{out}: its log breaks off at image {number}; render it again to its size to mend it"
            ) from error


def image_file(out: Path, index: int) -> Path:
    """Image `index` of a rendered data set; synth.shards.open_file opens it."""
    return out / find_store(out).image_name(index)


def make_manifest(job: RenderJob, library: Library) -> dict[str, Any]:
    """Everything the images depend on."""
    return {
        "format": FORMAT,
        "seed": job.seed,
        "renderer": job.renderer,
        "objects": {asset.name: asset.hashes for asset in library.objects},
        "backgrounds": _pool(job.backgrounds, library.photos),
        "environments": _pool(job.environments, library.environments),
        "distractors": library.meshes.hashes() if library.meshes else None,
        "config": job.config.model_dump(mode="json"),
        "versions": {package: version(package) for package in VERSIONS},
    }


def _pool(folder: Path | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    return {"files": len(names), "sha256": pool_digest(folder, names)} if folder else None


def pool_digest(folder: Path, names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0" + (folder / name).read_bytes())
    return digest.hexdigest()


def _claim(job: RenderJob, library: Library, out: Path, layout: str) -> None:
    """Writes the manifest into a folder that holds nothing else; else the one there must say the same.

    Raises AssetError for a broken distractor mesh, BlockingIOError when a run that has no image yet writes
    there.
    """
    manifest = json.loads(json.dumps({**make_manifest(job, library), "layout": layout}))
    path = out / MANIFEST
    held = {file.name for file in out.iterdir()} if out.exists() else set()
    if held == {MANIFEST}:
        with locked(path):
            path.unlink()
    if held <= {MANIFEST}:
        if library.meshes:
            library.meshes.check()  # mended later, the pool would be another one
        write_text(path, json.dumps(manifest, indent=1))
        return
    if MANIFEST not in held:
        raise DataError(f"{out} is not empty and holds no {MANIFEST}; choose another folder")
    changed = _difference(read_json(path), manifest)
    if changed:
        raise DataError(f"{out} holds a data set rendered otherwise ({changed}); choose another folder")


def _difference(found: Any, wanted: Any, where: str = "") -> str:
    """The first field in which two manifests differ, or ''."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            inner = _difference(found.get(key), wanted.get(key), f"{where}.{key}" if where else key)
            if inner:
                return inner
        return ""
    return "" if found == wanted else f"{where}: {found!r:.60} there, {wanted!r:.60} now"


def in_order(submit: Callable[[int], Future[Image]], indices: range, window: int) -> Iterator[Image]:
    """What `submit` promises for each index, in order; at most `window` are under way or wait to be taken."""
    pending: deque[Future[Image]] = deque()
    for index in indices:
        pending.append(submit(index))
        if len(pending) >= window:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _render_in_processes(job: RenderJob, indices: range, workers: int) -> Generator[Image]:
    """This process itself never opens an OpenGL context: with Mesa's software rasterizer loaded, importing
    torchvision afterwards crashes."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (job,)) as pool:

        def submit(index: int) -> Future[Image]:
            with deaf_to_interrupts():  # starts a worker where one is wanting
                return pool.submit(_run_in_worker, index)

        try:
            yield from in_order(submit, indices, 4 * workers)
        except BrokenProcessPool as error:
            raise EnvironmentProblem(
                "a render worker died (out of memory?); run again to go on where it stopped, "
                "perhaps with fewer workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class Images:
    """The images of a job, rendered in this process with an OpenGL context of its own."""

    def __init__(self, job: RenderJob, library: Library | None = None) -> None:
        self._job = job
        self._library = library or job.library()
        self._renderer = open_renderer(self._library, job.backgrounds, job.renderer, job.environments)

    def render(self, index: int) -> tuple[bytes, SceneSpec, Labels]:
        return render_image(self._job, self._library, self._renderer, index)

    def stored(self, index: int) -> Image:
        """The image as synth.store keeps it."""
        jpeg, scene, labels = self.render(index)
        return jpeg, (json.dumps(log_row(scene, labels)) + "\n").encode()


_images: Callable[[], Images] | None = None


def _start_worker(job: RenderJob) -> None:
    """When the parent is gone, so is this process. What fails in opening the images is the first image's
    error."""
    global _images
    tune_worker()
    threading.Thread(target=_follow_parent, daemon=True).start()
    _images = cache(partial(Images, job))


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run_in_worker(index: int) -> Image:
    assert _images is not None
    return _images().stored(index)


def log_row(scene: SceneSpec, labels: Labels) -> dict[str, Any]:
    """One row of the log: the scene, and per labelled object its annotation and pose."""
    annotations = [
        {
            "category_id": labels.category_id[n],
            "box_xyxy": labels.boxes_xyxy[n].tolist(),
            "keypoints": labels.keypoints[n].tolist(),
            "area": float(labels.area_px[n]),
            "visible_fraction": float(labels.visible_fraction[n]),
            "segmentation": labels.segmentation[n],
            "T_camera_from_object": labels.T_camera_from_object[n].tolist(),
        }
        for n in range(len(labels.category_id))
    ]
    return {"index": scene.index, "scene": scene_to_json(scene), "annotations": annotations}


def _image_labels(row: dict[str, Any], store: Store) -> ImageLabels:
    camera = row["scene"]["camera"]
    annotations = tuple(
        Annotation(
            category_id=a["category_id"],
            box_xyxy=np.array(a["box_xyxy"]),
            keypoints=np.array(a["keypoints"]),
            area=a["area"],
            segmentation=a["segmentation"],
            visible_fraction=a["visible_fraction"],
        )
        for a in row["annotations"]
    )
    index = row["index"]
    name = store.image_name(index)
    return ImageLabels(index + 1, name, camera["width_px"], camera["height_px"], annotations)
