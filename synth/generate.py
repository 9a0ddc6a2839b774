"""The loop that renders a data set: workers, progress, resume, manifest.

`scenes.jsonl` is the log: one line per image in index order, appended when the image lies on disk. A killed
run therefore leaves a prefix, and the next run goes on behind it. `annotations.json` is derived from it.
"""

import hashlib
import json
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from synth.assets import load_object
from synth.background import photo_names
from synth.coco import Annotation, Category, ImageLabels, write_coco
from synth.config import RENDERERS, SynthConfig
from synth.environment import environment_names
from synth.errors import DataError, EnvironmentProblem
from synth.files import write_bytes, write_text
from synth.instance import Library
from synth.labels import make_labels
from synth.lens import take
from synth.progress import track
from synth.render import Renderer, open_renderer
from synth.sample import sample_scene, stream
from synth.scene_json import scene_to_json
from synth.sensor import apply, encode_jpeg
from synth.types import Labels, SceneSpec

MANIFEST, SCENES, ANNOTATIONS = "manifest.json", "scenes.jsonl", "annotations.json"
FORMAT = 1
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
        return Library((load_object(self.object_path),), photos, maps, self.backgrounds)


def image_name(index: int) -> str:
    return f"images/{index:07d}.jpg"


def render_image(
    job: RenderJob, library: Library, renderer: Renderer, index: int
) -> tuple[bytes, SceneSpec, Labels]:
    """JPEG bytes, scene and labels of image `index`."""
    scene = sample_scene(job.config, library, job.seed, index)
    result = take(renderer, scene)
    noise = stream(job.seed, index, "sensor noise")
    picture = apply(result.rgb, scene.sensor, noise, result.instance_id > 0)
    return encode_jpeg(picture, scene.sensor.jpeg_quality), scene, make_labels(scene, library, result)


def generate(job: RenderJob, out: Path, count: int, workers: int) -> int:
    """Renders images until `out` holds `count` of them; returns how many were new.

    Raises DataError when `out` holds a data set of another config, object, pool or seed, or something else.
    """
    library = job.library()
    done = _open(job, library, out)
    if done < count:
        log = out / SCENES
        (out / "images").mkdir(exist_ok=True)
        try:
            with log.open("ab") as file:
                rows = _render_range(job, out, done, count, workers)
                for row in track(rows, total=count, label="render", start=done):
                    file.write(row)
                    file.flush()
        except OSError as error:
            raise EnvironmentProblem(f"{out}: {error.strerror}; mend that and run again to go on") from error
    if done < count or not (out / ANNOTATIONS).exists():
        write_annotations(out, library)
    return max(0, count - done)


def write_annotations(out: Path, library: Library) -> None:
    """annotations.json from the log."""
    categories = [Category(a.category_id, a.name, a.schema) for a in library.objects]
    write_coco(out / ANNOTATIONS, categories, (_image_labels(row) for row in read_log(out)))


def read_log(out: Path) -> Iterator[dict[str, Any]]:
    """The rows of scenes.jsonl: index, scene, annotations."""
    with (out / SCENES).open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def make_manifest(job: RenderJob, library: Library) -> dict[str, Any]:
    """Everything the images depend on."""
    return {
        "format": FORMAT,
        "seed": job.seed,
        "renderer": job.renderer,
        "objects": {asset.name: asset.hashes for asset in library.objects},
        "backgrounds": _pool(job.backgrounds, library.photos),
        "environments": _pool(job.environments, library.environments),
        "config": job.config.model_dump(mode="json"),
        "versions": {package: version(package) for package in VERSIONS},
    }


def _pool(folder: Path | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    if folder is None:
        return None
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0" + (folder / name).read_bytes())
    return {"files": len(names), "sha256": digest.hexdigest()}


def _open(job: RenderJob, library: Library, out: Path) -> int:
    """Prepares the folder; returns how many images it holds already."""
    manifest = json.loads(json.dumps(make_manifest(job, library)))
    path = out / MANIFEST
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path}: not valid JSON: {error}") from error
        changed = _difference(found, manifest)
        if changed:
            raise DataError(f"{out} holds a data set rendered otherwise ({changed}); choose another folder")
    elif out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty and holds no {MANIFEST}; choose another folder")
    else:
        write_text(path, json.dumps(manifest, indent=1))
    return _recover(out)


def _recover(out: Path) -> int:
    """Cuts the log behind its last whole line whose image exists; returns the number of lines left."""
    log = out / SCENES
    if not log.exists():
        return 0
    count = end = 0
    with log.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n") or not (out / image_name(count)).exists():
                break
            count, end = count + 1, end + len(line)
    if end < log.stat().st_size:
        os.truncate(log, end)
    return count


def _difference(found: Any, wanted: Any, where: str = "") -> str:
    """The first field in which two manifests differ, or ''."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            inner = _difference(found.get(key), wanted.get(key), f"{where}.{key}" if where else key)
            if inner:
                return inner
        return ""
    return "" if found == wanted else f"{where}: {found!r:.60} there, {wanted!r:.60} now"


def _render_range(job: RenderJob, out: Path, start: int, stop: int, workers: int) -> Iterator[bytes]:
    """Log lines of images start … stop - 1, in order; the images are on disk when a line comes.

    This process itself never opens an OpenGL context: with Mesa's software rasterizer loaded, importing
    torchvision afterwards crashes.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (job, out)) as pool:
        pending: deque[Future[bytes]] = deque()
        try:
            for index in range(start, stop):
                pending.append(pool.submit(_run_in_worker, index))
                if len(pending) >= 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise EnvironmentProblem(
                "a render worker died (out of memory?); run again to go on where it stopped, "
                "perhaps with fewer workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class Images:
    """The images of a job, rendered in this process with assets and OpenGL context of its own."""

    def __init__(self, job: RenderJob) -> None:
        self._job = job
        self._library = job.library()
        self._renderer = open_renderer(self._library, job.backgrounds, job.renderer, job.environments)

    def render(self, index: int) -> tuple[bytes, SceneSpec, Labels]:
        return render_image(self._job, self._library, self._renderer, index)

    def write(self, out: Path, index: int) -> bytes:
        """Writes the image into the folder `out`; returns its line of the log."""
        jpeg, scene, labels = self.render(index)
        write_bytes(out / image_name(index), jpeg)
        return (json.dumps(log_row(scene, labels)) + "\n").encode()


_worker: Callable[[int], bytes] | None = None


def _start_worker(job: RenderJob, out: Path) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker = partial(Images(job).write, out)


def _run_in_worker(index: int) -> bytes:
    assert _worker is not None
    return _worker(index)


def log_row(scene: SceneSpec, labels: Labels) -> dict[str, Any]:
    """One line of scenes.jsonl: the scene, and per labelled object its annotation and pose."""
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


def _image_labels(row: dict[str, Any]) -> ImageLabels:
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
    return ImageLabels(index + 1, image_name(index), camera["width_px"], camera["height_px"], annotations)
