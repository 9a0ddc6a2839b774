"""Factories: a small coloured box as an object folder, scenes with known answers."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from synth.config import RENDERERS, SynthConfig
from synth.geometry import intrinsics, look_at, rigid
from synth.objects.library import Library
from synth.objects.load import load_object
from synth.render.backends import open_renderer
from synth.render.protocol import Renderer
from synth.types import Background, Camera, Distractor, Light, Look, ObjectInstance, SceneSpec, Sensor

BOX_YAML = """\
name: box
mesh: box.ply
unit_m: 0.01
keypoints:
  left_front_top: [-10, -5, 4]
  right_front_top: [10, -5, 4]
  right_back_bottom: [10, 5, -4]
  inner: [0, 0, 0]
flip_pairs: undefined
placement: {mode: resting, elevation_deg: [30, 85]}
apparent_size: [0.2, 0.6]
"""

QUIET = Sensor(None, (1.0, 1.0, 1.0), 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 100)


@pytest.fixture(scope="session")
def box_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("box")
    trimesh.creation.box(extents=(20, 10, 8)).export(folder / "box.ply")
    (folder / "object.yaml").write_text(BOX_YAML)
    return folder


@pytest.fixture(scope="session")
def box_library(box_folder: Path) -> Library:
    return Library((load_object(str(box_folder)),))


@pytest.fixture(scope="session", params=RENDERERS)
def renderer(opengl: None, request: pytest.FixtureRequest, box_library: Library) -> Iterator[Renderer]:
    opened = open_renderer(box_library, backend=request.param)
    yield opened
    opened.close()


@pytest.fixture
def small_config() -> SynthConfig:
    return SynthConfig.model_validate({"camera": {"width_px": 160, "height_px": 120}})


@pytest.fixture
def box_scene() -> Callable[..., SceneSpec]:
    """The box at the origin, seen from the front and above; keyword arguments replace fields."""

    def make(**changes: object) -> SceneSpec:
        eye = np.array([0.0, -0.8, 0.4])
        camera = Camera(320, 240, intrinsics(320, 240, 400.0), look_at(eye, np.zeros(3)))
        scene = SceneSpec(
            seed=0,
            index=0,
            camera=camera,
            objects=(box_at((0.0, 0.0, 0.0)),),
            distractors=(),
            lights=(Light("key", (0.0, 0.0, 1.0), 0.8, (1.0, 1.0, 1.0)),),
            ambient=0.3,
            background=Background("plain", "", (0.0, 0.0, 1.0, 1.0), False, 1, 1.0, 0.9, False),
            sensor=QUIET,
        )
        return replace(scene, **changes)  # type: ignore[arg-type]

    return make


def box_at(position: tuple[float, float, float], scale: float = 1.0) -> ObjectInstance:
    T = rigid(np.eye(3), np.array(position))
    return ObjectInstance("box", 0, T, (scale, scale, scale), {}, {"box": Look()})


def wall_at(position: tuple[float, float, float], size: tuple[float, float, float]) -> Distractor:
    return Distractor("box", size, rigid(np.eye(3), np.array(position)), "plain", 3, 0.9, 0.0)
