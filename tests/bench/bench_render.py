"""Images per second: a plain pyrender loop as its documentation teaches it, and Meshmark's whole path.

    python -m tests.bench.bench_render --images 40 --repeats 5 --backgrounds FOLDER --environments FOLDER

Every repeat goes through all rows, for a machine's speed changes by the minute; ratios are those within a
repeat. Every measurement runs in a process of its own, on one core but for `plain, all cores` and the two of
`make render`: those have a worker for each. The plain loop: one OffscreenRenderer, two meshes of 5,000 faces
on a plane, a directional light with shadows, a second pass for masks, the render pasted onto a photo, JPEG.
Meshmark: the scene, its render, labels, sensor, JPEG, log row, files written; by default up to three objects
in piles, four distractors and more lights, in `make render, plain scenes` what the loop shows.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("LP_NUM_THREADS", "0")
os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
os.environ.setdefault("PYGLET_HEADLESS", "true")

import cv2
import numpy as np
import trimesh

from synth.config import RENDERERS, SynthConfig, load_synth_config
from synth.dataset.log import log_row
from synth.generate.images import render_image
from synth.generate.job import RenderJob
from synth.generate.run import rendered
from synth.objects.load import ASSETS
from synth.render.backends import open_renderer
from synth.scene.background import open_photos
from synth.system.files import write_bytes
from synth.system.pictures import load_rgb
from synth.system.worker import tune_worker

SIZE = 640, 480
PLAIN, PLAIN_ON_ALL = "plain", "plain, all cores"
WHOLE, WHOLE_PLAIN = "make render", "make render, plain scenes"
PLAIN_SCENES = {
    "camera": {"distorted": 0.0},
    "objects": {"count": [2, 2], "negatives": 0.0, "touching": 0.0, "piled": 0.0, "truncation": 0.0},
    "distractors": {"count": [0, 0]},
    "light": {"fills": [0, 0], "environment": 0.0, "from_photo": 0.0},
    "background": {"photo": 1.0},
}
WARM_UP = 200
"""Images until nearly all photos, surfaces and environment maps were decoded once."""
LONGER = 5
"""So many times as many images of `make render`: what its workers have begun before does not count then."""


def plain_pyrender(object_: str, photos: Path | None) -> Callable[[int], None]:
    """The loop body of pyrender's examples."""
    import pyrender

    sphere = trimesh.creation.uv_sphere(radius=0.2, count=(51, 50))
    plane = trimesh.creation.box((4.0, 4.0, 0.01))
    scene = pyrender.Scene(ambient_light=(0.3, 0.3, 0.3), bg_color=(0, 0, 0, 0))
    things = [scene.add(pyrender.Mesh.from_trimesh(sphere)) for _ in range(2)]
    ground = scene.add(pyrender.Mesh.from_trimesh(plane))
    pose = np.eye(4)
    pose[:3, 3] = 0.0, -1.0, 1.4
    pose[1:3, 1:3] = [[0.8, -0.6], [0.6, 0.8]]
    scene.add(pyrender.IntrinsicsCamera(800.0, 800.0, SIZE[0] / 2, SIZE[1] / 2), pose=pose)
    scene.add(pyrender.DirectionalLight(color=np.ones(3), intensity=3.0), pose=pose)
    colors = {things[0]: (1, 0, 0), things[1]: (2, 0, 0), ground: (0, 0, 0)}
    renderer = pyrender.OffscreenRenderer(*SIZE)
    pool = [photos / name for name in open_photos(photos).names] if photos else []
    rng = np.random.default_rng(0)
    out = Path(tempfile.mkdtemp())

    def image(index: int) -> None:
        for n, node in enumerate(things):
            place = np.eye(4)
            place[:3, 3] = rng.uniform(-0.2, 0.2) + 0.5 * n - 0.25, rng.uniform(-0.2, 0.2), 0.2
            scene.set_pose(node, place)
        rgb, depth = renderer.render(scene, pyrender.RenderFlags.SHADOWS_DIRECTIONAL)
        seg, _ = renderer.render(scene, pyrender.RenderFlags.SEG, colors)
        photo = load_rgb(pool[index % len(pool)]) if pool else rng.integers(0, 256, (600, 800, 3), np.uint8)
        photo = cv2.resize(photo, SIZE, interpolation=cv2.INTER_AREA)
        picture = np.where((seg[:, :, :1] > 0) | (depth[:, :, None] > 0), rgb, photo)
        cv2.imwrite(str(out / f"{index}.jpg"), picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])

    return image


def whole_path(backend: str, object_: str, photos: Path | None, maps: Path | None) -> Callable[[int], None]:
    """What a worker of `generate` does for one image."""
    job = RenderJob(object_, load_synth_config("default"), photos, 0, backend, maps)
    library = job.library()
    renderer = open_renderer(library, backend)
    out = Path(tempfile.mkdtemp())
    (out / "images").mkdir()

    def image(index: int) -> None:
        jpeg, scene, labels = render_image(job, library, renderer, index)
        write_bytes(out / f"images/{index:07d}.jpg", jpeg)
        json.dumps(log_row(scene, labels))

    return image


def whole_command(
    config: SynthConfig, object_: str, photos: Path | None, maps: Path | None
) -> Callable[[int], None]:
    """What `make render` does for the next image: taken from the workers and written."""
    job = RenderJob(object_, config, photos, 0, environments=maps)
    images = rendered(job, job.library(), range(10**6), 0, "processes")
    out = Path(tempfile.mkdtemp())

    def image(index: int) -> None:
        jpeg, row = next(images)
        write_bytes(out / f"{index}.jpg", jpeg)
        with (out / "scenes.jsonl").open("ab") as log:
            log.write(row)

    return image


def only_render(backend: str, object_: str, photos: Path | None, maps: Path | None) -> Callable[[int], None]:
    """The renderer alone, its textures resident: the same few scenes again and again."""
    from synth.scene.sample import sample_scene

    job = RenderJob(object_, load_synth_config("default"), photos, 0, backend, maps)
    library = job.library()
    renderer = open_renderer(library, backend)
    scenes = [sample_scene(job.config, library, 0, index) for index in range(10)]
    return lambda index: renderer.render(scenes[index % len(scenes)]) and None


def measure(what: str, object_: str, photos: Path | None, maps: Path | None, images: int) -> float:
    """Images per second, once the caches are filled."""
    kind, _, backend = what.partition(" ")
    if what != PLAIN_ON_ALL:
        tune_worker()
    if what in (WHOLE, WHOLE_PLAIN):
        config = load_synth_config("default") if what == WHOLE else SynthConfig.model_validate(PLAIN_SCENES)
        image = whole_command(config, object_, photos, maps)
        images *= LONGER
    elif what in (PLAIN, PLAIN_ON_ALL):
        image = plain_pyrender(object_, photos)
    else:
        image = (whole_path if kind == "generate" else only_render)(backend, object_, photos, maps)
    warm_up = WARM_UP if what in (WHOLE, WHOLE_PLAIN, "generate fast") else 10
    for index in range(warm_up):
        image(index)
    start = time.perf_counter()
    for index in range(warm_up, warm_up + images):
        image(index)
    return images / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--object", default="glue_tube")
    parser.add_argument("--backgrounds", type=Path)
    parser.add_argument("--environments", type=Path)
    chosen = parser.parse_args()
    rows = [PLAIN, *(f"{kind} {backend}" for kind in ("render", "generate") for backend in RENDERERS)]
    rows += [PLAIN_ON_ALL, WHOLE, WHOLE_PLAIN]
    rates: dict[str, list[float]] = {row: [] for row in rows}
    for repeat in range(chosen.repeats):
        for row in rows:
            os.environ["LP_NUM_THREADS"] = str(os.cpu_count()) if row == PLAIN_ON_ALL else "0"
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                pools = chosen.backgrounds, chosen.environments
                measured = pool.submit(measure, row, str(ASSETS / chosen.object), *pools, chosen.images)
                rates[row].append(measured.result())
        print(f"repeat {repeat + 1}:", *(f"{row} {rates[row][-1]:.1f}," for row in rows), flush=True)
    print(
        f"{SIZE[0]}x{SIZE[1]}, {chosen.images} images, medians of {chosen.repeats} repeats, {chosen.object}"
    )
    print("| | images/s | ms | × plain (least to most) | × plain, all cores |\n|---|---|---|---|---|")
    for row in rows:
        middle = statistics.median(rates[row])
        plain, on_all = (np.divide(rates[row], rates[base]) for base in (PLAIN, PLAIN_ON_ALL))
        spread = f"{np.median(plain):.1f} ({plain.min():.1f} to {plain.max():.1f})"
        print(f"| {row} | {middle:.1f} | {1000 / middle:.0f} | {spread} | {np.median(on_all):.1f} |")


if __name__ == "__main__":
    main()
