"""The images of a job, one by one."""

import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from synth.dataset.log import checksum, log_row
from synth.dataset.store import StoredImage
from synth.generate.job import RenderJob
from synth.labels import make_labels
from synth.objects.library import Library
from synth.render.backends import open_renderer
from synth.render.lens import render_through_lens
from synth.render.protocol import Renderer
from synth.scene.sample import sample_scene
from synth.scene.streams import stream
from synth.sensor import encode_jpeg, through_sensor
from synth.types import Labels, SceneSpec


def render_image(
    job: RenderJob, library: Library, renderer: Renderer, index: int
) -> tuple[bytes, SceneSpec, Labels]:
    """JPEG bytes, scene and labels of image `index`."""
    scene = sample_scene(job.config, library, job.seed, index)
    result = render_through_lens(renderer, scene)
    noise = stream(job.seed, index, "sensor noise")
    picture = through_sensor(result.rgb, scene.sensor, noise, result.instance_id > 0)
    return encode_jpeg(picture, scene.sensor.jpeg_quality), scene, make_labels(scene, library, result)


def in_order(
    submit: Callable[[int], Future[StoredImage]], indices: range, window: int
) -> Iterator[StoredImage]:
    """What `submit` promises for each index, in order; at most `window` are under way or wait to be taken."""
    pending: deque[Future[StoredImage]] = deque()
    for index in indices:
        pending.append(submit(index))
        if len(pending) >= window:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


class Images:
    """The images of a job, rendered in this process with an OpenGL context of its own."""

    def __init__(self, job: RenderJob, library: Library | None = None) -> None:
        self._job = job
        self._library = library or job.library()
        self._renderer = open_renderer(self._library, job.renderer)

    def render(self, index: int) -> tuple[bytes, SceneSpec, Labels]:
        return render_image(self._job, self._library, self._renderer, index)

    def stored(self, index: int) -> StoredImage:
        """The image as synth.dataset.store keeps it."""
        jpeg, scene, labels = self.render(index)
        row = {**log_row(scene, labels), "image": checksum(jpeg)}
        return jpeg, (json.dumps(row) + "\n").encode()
