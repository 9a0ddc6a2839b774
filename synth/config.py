"""SynthConfig: a YAML file -> checked settings of the randomizers. Unknown keys are errors.

What belongs to the object (placement, apparent size, material ranges) stands in its object.yaml; what
belongs to the pictures (camera, light, background, sensor, clutter) stands here.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synth.calibration import read_calibration
from synth.errors import ConfigError
from synth.yaml import Range, WholeRange, describe, read_yaml

RENDERERS = ("fast", "pyrender")
"""Backends of synth.render, the default first: equal labels; pyrender is the slow reference."""
EXECUTORS = ("processes", "ray")
"""Who renders: processes of this machine, or a Ray cluster. Equal bytes."""
LAYOUTS = ("folder", "webdataset")
"""How synth.store lays the data set out: an image a file, or tar shards."""
CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "synth"

Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Calibration(_Strict):
    """A camera's intrinsics. matrix: fx, fy, cx, cy in continuous px of an image of that size.

    coefficients: of the model, as OpenCV orders them.
    """

    width_px: int = Field(ge=16, le=65536)
    height_px: int = Field(ge=16, le=65536)
    matrix: tuple[float, float, float, float]
    model: Literal["brown-conrady", "fisheye"] = "brown-conrady"
    coefficients: tuple[float, ...] = ()


class CameraConfig(_Strict):
    width_px: int = Field(640, ge=64, le=4096)
    height_px: int = Field(480, ge=64, le=4096)
    fov_deg: Range = (25.0, 75.0)
    """Field of view along the image's longer side."""
    roll_deg: Range = (-20.0, 20.0)
    top_view: Share = 0.15
    """Share of pictures of resting objects taken from straight above."""
    distorted: Share = 0.2
    """Share of pictures taken through a lens that bends straight lines."""
    distortion: Range = (-0.1, 0.05)
    """How far the lens moves the image's corners outwards, as a share of their distance from the centre."""
    calibration: Calibration | None = None
    """A real camera. In YAML: the path of its calibration file, relative to the config. Its field of view
    and its lens take the place of fov_deg and distortion, its image's shape that of width_px : height_px (the
    longer side stays)."""


class ObjectsConfig(_Strict):
    count: WholeRange = (1, 3)
    negatives: Share = 0.05
    """Share of images without any target object."""
    touching: Share = 0.3
    """Share of further objects placed close beside an earlier one."""
    piled: Share = 0.15
    """Share of further resting objects that lie on an earlier one or lean against it."""
    truncation: Share = 0.1
    """Share of objects whose centre may come so near the border that the image cuts them."""


class DistractorConfig(_Strict):
    count: WholeRange = (0, 4)
    size: Range = (0.15, 1.0)
    """Size as a share of the object's diameter."""
    occluders: Share = 0.3
    """Share of distractors that may stand between camera and object."""
    meshes: str = ""
    """Folder of mesh files, relative to the config's; '' = boxes, cylinders and the like only."""
    mesh_share: Share = 0.7
    """Share of distractors that come from that folder."""


class LightConfig(_Strict):
    key_irradiance: Range = (0.35, 1.3)
    key_elevation_deg: Range = (25.0, 88.0)
    key_radius_deg: Range = (0.3, 10.0)
    """How large the key light looks from the scene (the sun: 0.27): the larger, the softer its shadows."""
    fills: WholeRange = (0, 2)
    """Weaker lights from other sides, without shadows."""
    fill: Range = (0.0, 0.35)
    ambient: Range = (0.15, 0.6)
    """Mean light from all sides."""
    temperature_k: Range = (2800.0, 9000.0)
    environment: Share = 0.8
    """Share of images in which that light is an environment map's, if there is a pool of them."""
    from_photo: Share = 0.5
    """Share of images with a photo behind that are lit as that photo suggests."""


class BackgroundConfig(_Strict):
    photo: Share = 0.5
    """Share of images with a photo behind; the others show a procedural surface."""
    tile: Range = (2.0, 14.0)
    """Size of a surface's pattern in object diameters."""
    roughness: Range = (0.35, 1.0)


class SensorConfig(_Strict):
    mean_light: Range = (0.12, 0.38)
    """What automatic exposure aims at: mean linear light of the picture, 1 = white."""
    white_balance: Range = (0.85, 1.15)
    contrast: Range = (0.8, 1.25)
    tone: Range = (0.0, 0.5)
    """Share of an S curve in the encoding, as cameras and phones apply."""
    blur_sigma_px: Range = (0.0, 1.1)
    defocus: Share = 0.1
    """Share of pictures out of focus."""
    defocus_px: Range = (0.8, 2.5)
    motion: Share = 0.15
    """Share of pictures with motion blur."""
    motion_px: Range = (1.0, 7.0)
    objects_move: Share = 0.3
    """Share of those in which the objects move and not the camera."""
    fringes: Share = 0.3
    """Share of pictures with lateral chromatic aberration."""
    chromatic: Range = (0.0003, 0.002)
    vignetted: Share = 0.4
    """Share of pictures with darker corners."""
    vignetting: Range = (0.05, 0.45)
    noise_shot: Range = (0.0, 0.03)
    noise_read: Range = (0.0, 0.02)
    jpeg_quality: WholeRange = (60, 96)


class SynthConfig(_Strict):
    camera: CameraConfig = CameraConfig()
    objects: ObjectsConfig = ObjectsConfig()
    distractors: DistractorConfig = DistractorConfig()
    light: LightConfig = LightConfig()
    background: BackgroundConfig = BackgroundConfig()
    sensor: SensorConfig = SensorConfig()


def load_config(name_or_path: str | Path) -> SynthConfig:
    """A file, or NAME for configs/synth/NAME.yaml. Raises ConfigError naming file and field."""
    path = Path(name_or_path)
    if not path.suffix:
        path = CONFIGS / f"{name_or_path}.yaml"
    raw = _with_meshes(_with_calibration(read_yaml(path, ConfigError), path), path)
    try:
        return SynthConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}") from error


def _with_calibration(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """The path in camera.calibration replaced by what stands in that file."""
    camera = raw.get("camera")
    if not isinstance(camera, dict) or not isinstance(camera.get("calibration"), str):
        return raw
    return {**raw, "camera": {**camera, "calibration": read_calibration(path.parent / camera["calibration"])}}


def _with_meshes(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """The folder in distractors.meshes made absolute."""
    distractors = raw.get("distractors")
    if not isinstance(distractors, dict) or not isinstance(distractors.get("meshes"), str):
        return raw
    folder = str((path.parent / distractors["meshes"]).resolve()) if distractors["meshes"] else ""
    return {**raw, "distractors": {**distractors, "meshes": folder}}
