"""Where the time of a rendered image goes, and the floor: the same images only loaded, pasted and encoded.

    python -m tests.bench.bench_stages --images 200 --backgrounds FOLDER --environments FOLDER

One process, one thread. Mesa's software rasterizer draws when a picture is read back, so drawing and reading
back are one row; `prepared` is what the renderer computes for OpenGL: matrices, soft shadows, light maps.
"""

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["LP_NUM_THREADS"] = "0"

import moderngl
import numpy as np

import synth.render.fast
from synth.config import SynthConfig, load_synth_config
from synth.dataset.log import log_row
from synth.generate.job import RenderJob
from synth.labels import make_labels
from synth.objects.load import ASSETS
from synth.render.backends import open_renderer
from synth.render.lens import render_through_lens
from synth.scene.background import crop_photo, load_photo, open_photos
from synth.scene.sample import sample_scene
from synth.scene.streams import stream
from synth.sensor import encode_jpeg, through_sensor
from synth.system.worker import tune_worker
from synth.types import RenderResult

WARM_UP = 200


class Clock:
    """Seconds by stage; a stage within another is taken out of that."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                whole = time.perf_counter() - start
                self.seconds[stage] += whole - self._inner.pop()
                self._inner[-1] += whole

        return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--object", default="glue_tube")
    parser.add_argument("--backgrounds", type=Path, required=True)
    parser.add_argument("--environments", type=Path)
    parser.add_argument("--count", type=int, help="objects in every image, as far as there is room")
    chosen = parser.parse_args()
    tune_worker()
    config = load_synth_config("default")
    if chosen.count:
        config = SynthConfig.model_validate({"objects": {"count": [chosen.count] * 2, "negatives": 0.0}})
    path = str(ASSETS / chosen.object)
    job = RenderJob(path, config, chosen.backgrounds, 0, environments=chosen.environments)
    library, clock = job.library(), Clock()
    renderer = open_renderer(library, job.renderer)
    for cls, name in ((moderngl.Framebuffer, "read"), (moderngl.VertexArray, "render")):
        setattr(cls, name, clock.timed("drawing and reading back", getattr(cls, name)))
    synth.render.fast.backdrop_texture = clock.timed("background photo", synth.render.fast.backdrop_texture)
    renderer.render = clock.timed("prepared for drawing", renderer.render)  # type: ignore[method-assign]
    steps = {
        "sampling": sample_scene,
        "lens": render_through_lens,
        "sensor": through_sensor,
        "labels": make_labels,
        "JPEG": encode_jpeg,
        "log row": lambda scene, labels: json.dumps(log_row(scene, labels)),
    }
    sample, bend, record, label, encode, log = (clock.timed(*step) for step in steps.items())
    results: list[tuple[RenderResult, Any]] = []
    objects = 0
    for index in range(WARM_UP + chosen.images):
        if index == WARM_UP:
            clock.seconds.clear()
            objects = 0
            start = time.perf_counter()
        scene = sample(job.config, library, job.seed, index)
        result = bend(renderer, scene)
        picture = record(
            result.rgb, scene.sensor, stream(job.seed, index, "sensor noise"), result.instance_id > 0
        )
        encode(picture, scene.sensor.jpeg_quality)
        log(scene, label(scene, library, result))
        results = [*results[-9:], (result, scene)]
        objects += len(scene.objects)
    whole = (time.perf_counter() - start) / chosen.images
    floor = least(results, chosen.backgrounds, chosen.images)
    clock.seconds["the rest"] = whole * chosen.images - sum(clock.seconds.values())
    print(f"{objects / chosen.images:.1f} objects an image\n\n| stage | ms an image | share |\n|---|---|---|")
    for stage, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1]):
        each = seconds / chosen.images
        print(f"| {stage} | {1000 * each:.1f} | {each / whole:.0%} |")
    print(f"| all | {1000 * whole:.1f} | 100% |")
    print(f"| floor: loaded, pasted, encoded | {1000 * floor:.1f} | {floor / whole:.0%} |")


def least(results: list[tuple[RenderResult, Any]], backgrounds: Path, images: int) -> float:
    """Seconds an image of pasting a rendered object onto a decoded photo and encoding that."""
    pool = open_photos(backgrounds)
    photos = [load_photo(pool.path(name)) for name in pool.names[:32]]
    start = time.perf_counter()
    for index in range(images):
        result, scene = results[index % len(results)]
        height, width = result.instance_id.shape
        photo = crop_photo(photos[index % len(photos)], (0.1, 0.1, 0.8, 0.8), False, width, height)
        encode_jpeg(
            np.where(result.instance_id[:, :, None] > 0, result.rgb, photo), scene.sensor.jpeg_quality
        )
    return (time.perf_counter() - start) / images


if __name__ == "__main__":
    main()
