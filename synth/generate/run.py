"""The loop that renders a data set: workers, progress, resume, manifest.

Workers render; this process alone writes. synth.dataset.store keeps images and log; `annotations.json` is
derived from the log, an image at a time.
"""

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any

from synth.config import EXECUTORS, LAYOUTS, SynthConfig
from synth.dataset.log import ANNOTATIONS, ANNOTATIONS_SUM, MANIFEST, has_annotations, write_annotations
from synth.dataset.store import StoredImage, open_store
from synth.errors import DataError, EnvironmentProblem
from synth.generate.images import Images, in_order
from synth.generate.job import RenderJob, make_manifest
from synth.objects.library import Library
from synth.objects.mesh_pool import check_meshes
from synth.system.files import locked, remove_leftovers, write_text
from synth.system.json_files import read_json
from synth.system.progress import track
from synth.system.worker import deaf_to_interrupts, tune_worker


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
        with locked(out):
            _claim(job, library, out, layout)
            done = store.recover()
            if done < count:
                (out / ANNOTATIONS).unlink(missing_ok=True)  # else a run cut off would leave those of fewer
                with closing(rendered(job, library, range(done, count), workers, executor)) as images:
                    for _ in track(store.append(done, images), total=count, label="render", start=done):
                        pass
            held = max(done, count)
            if not has_annotations(out, held):
                write_annotations(out, library, store, held)
    except OSError as error:
        raise EnvironmentProblem(f"{out}: {error.strerror}; mend that and run again to go on") from error
    return max(0, count - done)


def rendered(
    job: RenderJob, library: Library, indices: range, workers: int, executor: str
) -> Generator[StoredImage]:
    """The images of these indices, in order."""
    if executor == "processes":
        return _render_in_processes(job, indices, workers or os.cpu_count() or 1)
    from synth.generate.on_ray import render_on_ray

    return render_on_ray(job, library, indices, workers)


def _claim(job: RenderJob, library: Library, out: Path, layout: str) -> None:
    """Writes the manifest into a folder that holds nothing else; else the one there must say the same.

    `out` is locked. Raises AssetError for a broken distractor mesh.
    """
    manifest = json.loads(json.dumps({**make_manifest(job, library), "layout": layout}))
    path = out / MANIFEST
    remove_leftovers(out)
    held = {file.name for file in out.iterdir()}
    if held <= {MANIFEST}:
        if library.meshes:
            check_meshes(library.meshes)  # mended later, the pool would be another one
        write_text(path, json.dumps(manifest, indent=1))
        return
    if MANIFEST not in held:
        raise DataError(f"{out} is not empty and holds no {MANIFEST}; choose another folder")
    found = read_json(path)
    if isinstance(found, dict):
        found.pop(ANNOTATIONS_SUM, None)
    changed = _difference(_with_defaults(found), manifest)
    if changed:
        raise DataError(f"{out} holds a data set rendered otherwise ({changed}); choose another folder")


def _with_defaults(manifest: Any) -> Any:
    """A manifest of an earlier version whose config lacks fields that were added since: at their defaults it
    rendered what this version renders."""
    try:
        config = SynthConfig.model_validate(manifest["config"])
    except (KeyError, TypeError, ValueError):
        return manifest
    return {**manifest, "config": config.model_dump(mode="json")}


def _difference(found: Any, wanted: Any, where: str = "") -> str:
    """The first field in which two manifests differ, or ''."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            inner = _difference(found.get(key), wanted.get(key), f"{where}.{key}" if where else key)
            if inner:
                return inner
        return ""
    return "" if found == wanted else f"{where}: {found!r:.60} there, {wanted!r:.60} now"


def _render_in_processes(job: RenderJob, indices: range, workers: int) -> Generator[StoredImage]:
    """This process itself never opens an OpenGL context: with Mesa's software rasterizer loaded, importing
    torchvision afterwards crashes."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (job,)) as pool:

        def submit(index: int) -> Future[StoredImage]:
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


def _run_in_worker(index: int) -> StoredImage:
    assert _images is not None
    return _images().stored(index)
