"""SynthConfig: a YAML file -> checked settings of the randomizers. Unknown keys are errors.

What belongs to the object (placement, apparent size, material ranges) stands in its object.yaml; what
belongs to the pictures (camera, light, background, sensor, clutter) stands here.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synth.cameras.calibration import Calibration
from synth.cameras.files import read_calibration
from synth.errors import ConfigError
from synth.system.shipped import shipped_folder
from synth.system.yaml_files import Range, WholeRange, between, read_yaml, validation_text

RENDERERS = ("fast", "pyrender")
"""Backends of synth.render, the default first: equal labels; pyrender is the slow reference."""
EXECUTORS = ("processes", "ray")
"""Who renders: processes of this machine, or a Ray cluster. Equal bytes."""
LAYOUTS = ("folder", "webdataset")
"""How synth.dataset.store lays the data set out: an image a file, or tar shards."""
CONFIGS = shipped_folder("configs") / "synth"

Share = Annotated[float, Field(ge=0, le=1)]
ShareRange = Annotated[Range, between(0, 1)]
Count = Annotated[WholeRange, between(0, 100)]
Angle = Annotated[Range, between(0, 90)]
Strength = Annotated[Range, between(0, 100)]
Pixels = Annotated[Range, between(0, 50)]
Factor = Annotated[Range, between(0.01, 100)]
OneFactor = Annotated[float, Field(ge=0.01, le=100)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CameraConfig(_Strict):
    width_px: int = Field(640, ge=64, le=4096)
    height_px: int = Field(480, ge=64, le=4096)
    fov_deg: Annotated[Range, between(1, 170)] = (25.0, 75.0)
    """Field of view along the image's longer side."""
    roll_deg: Annotated[Range, between(-180, 180)] = (-20.0, 20.0)
    top_view: Share = 0.15
    """Share of pictures of resting objects taken from straight above."""
    distorted: Share = 0.2
    """Share of pictures taken through a lens that bends straight lines."""
    distortion: Annotated[Range, between(-0.14, 0.5)] = (-0.1, 0.05)
    """How far the lens moves the image's corners outwards, as a share of their distance from the centre; from
    -4/27 on r (1 + k r^2) folds the picture."""
    calibration: Calibration | None = None
    """A real camera. In YAML: the path of its calibration file, relative to the config. Its field of view
    and its lens take the place of fov_deg and distortion, its image's shape that of width_px : height_px (the
    longer side stays)."""


class ObjectsConfig(_Strict):
    count: Count = (1, 3)
    negatives: Share = 0.05
    """Share of images without any target object."""
    touching: Share = 0.3
    """Share of further objects placed close beside an earlier one."""
    gap: Annotated[Range, between(0, 10)] = (0.0, 0.15)
    """Room between such two, in object diameters."""
    piled: Share = 0.15
    """Share of further resting objects that lie on an earlier one or lean against it."""
    on_top: Share = 0.5
    """Share of those that lie on top where that is flat; the others lean."""
    truncation: Share = 0.1
    """Share of objects whose centre may come so near the border that the image cuts them."""


class MaterialsConfig(_Strict):
    """How parts vary about which object.yaml says nothing."""

    hue: Annotated[Range, between(-1, 1)] = (-0.03, 0.03)
    """Turn added to the hue, 1 = once around."""
    saturation: Annotated[Range, between(0, 100)] = (0.8, 1.2)
    """Factor, as is that of value."""
    value: Annotated[Range, between(0, 100)] = (0.8, 1.2)
    roughness: ShareRange = (0.3, 0.8)
    """Also of parts whose materials in object.yaml leave it open, but for those with a texture of it."""


class DistractorConfig(_Strict):
    count: Count = (0, 4)
    size: Factor = (0.15, 1.0)
    """Size as a share of the object's diameter."""
    log_sides: Annotated[Range, between(-10, 0)] = (-1.6, 0.0)
    """Natural logarithm of each side as a share of that size: -1.6 is a fifth."""
    occluders: Share = 0.3
    """Share of distractors that may stand between camera and object."""
    occluder_distance: Annotated[Range, between(0.05, 1)] = (0.45, 0.85)
    """How far they are, as a share of the object's distance from the camera."""
    occluder_size: OneFactor = 0.7
    """They are smaller by this and by that share, so that the object stays in view."""
    occluder_height: Share = 0.6
    """Least height of their middle above the ground, as a share of their longest side."""
    behind_distance: Annotated[Range, between(0.1, 10)] = (1.3, 2.5)
    """Of the others in the air, as a share of the camera's distance from the world's origin."""
    behind_size: OneFactor = 1.5
    """Those are larger by this."""
    roughness: ShareRange = (0.15, 1.0)
    metallic: Share = 0.15
    """Share of distractors that are metal."""
    tint: ShareRange = (0.45, 1.0)
    """Factor of the brightness and of each colour of their surface, in linear light."""
    meshes: str = ""
    """Folder of mesh files, relative to the config's; '' = boxes, cylinders and the like only."""
    mesh_share: Share = 0.7
    """Share of distractors that come from that folder."""
    mesh_surface: Share = 0.5
    """Share of those that show a random surface and not their own."""


class LightConfig(_Strict):
    key_irradiance: Strength = (0.35, 1.3)
    key_elevation_deg: Angle = (25.0, 88.0)
    key_radius_deg: Angle = (0.3, 10.0)
    """How large the key light looks from the scene (the sun: 0.27): the larger, the softer its shadows."""
    fills: Annotated[WholeRange, between(0, 8)] = (0, 2)
    """Weaker lights from other sides, without shadows."""
    fill: Strength = (0.0, 0.35)
    """Irradiance of each."""
    fill_elevation_deg: Angle = (20.0, 80.0)
    fill_turn_rad: Annotated[Range, between(0, 6.3)] = (1.5, 4.8)
    """Angle about the vertical from the key light to the first of them; the others stand anywhere."""
    ambient: Strength = (0.15, 0.6)
    """Mean light from all sides."""
    temperature_k: Annotated[Range, between(1000, 40000)] = (2800.0, 9000.0)
    environment: Share = 0.8
    """Share of images in which that light is an environment map's, if there is a pool of them."""
    from_photo: Share = 0.5
    """Share of images with a photo behind that are lit as that photo suggests."""
    photo_level: Factor = (0.5, 1.4)
    """How much weaker or stronger than usual all light becomes for the darkest and the brightest photos."""


class BackgroundConfig(_Strict):
    photo: Share = 0.5
    """Share of images with a photo behind; the others show a procedural surface."""
    zoom: Annotated[Range, between(0.02, 1)] = (0.35, 1.0)
    """Share of a photo's sides that the image shows."""
    flip: Share = 0.5
    """Share of backgrounds that are mirrored."""
    tile: Factor = (2.0, 14.0)
    """Size of a surface's pattern in object diameters."""
    roughness: ShareRange = (0.35, 1.0)
    tint: ShareRange = (0.45, 1.0)
    """Factor of the brightness and of each colour of a surface, in linear light."""


class SensorConfig(_Strict):
    mean_light: Annotated[Range, between(0.01, 1)] = (0.12, 0.38)
    """What automatic exposure aims at: mean linear light of the picture, 1 = white."""
    white_balance: Annotated[Range, between(0.1, 10)] = (0.85, 1.15)
    contrast: Annotated[Range, between(0.1, 10)] = (0.8, 1.25)
    tone: ShareRange = (0.0, 0.5)
    """Share of an S curve in the encoding, as cameras and phones apply."""
    blur_sigma_px: Pixels = (0.0, 1.1)
    defocus: Share = 0.1
    """Share of pictures out of focus."""
    defocus_px: Pixels = (0.8, 2.5)
    motion: Share = 0.15
    """Share of pictures with motion blur."""
    motion_px: Pixels = (1.0, 7.0)
    objects_move: Share = 0.3
    """Share of those in which the objects move and not the camera."""
    fringes: Share = 0.3
    """Share of pictures with lateral chromatic aberration."""
    chromatic: ShareRange = (0.0003, 0.002)
    vignetted: Share = 0.4
    """Share of pictures with darker corners."""
    vignetting: ShareRange = (0.05, 0.45)
    noise_shot: ShareRange = (0.0, 0.03)
    noise_read: ShareRange = (0.0, 0.02)
    jpeg_quality: Annotated[WholeRange, between(1, 100)] = (60, 96)


class SynthConfig(_Strict):
    camera: CameraConfig = CameraConfig()
    objects: ObjectsConfig = ObjectsConfig()
    materials: MaterialsConfig = MaterialsConfig()
    distractors: DistractorConfig = DistractorConfig()
    light: LightConfig = LightConfig()
    background: BackgroundConfig = BackgroundConfig()
    sensor: SensorConfig = SensorConfig()


def load_synth_config(name_or_path: str | Path) -> SynthConfig:
    """A file, or NAME for configs/synth/NAME.yaml. Raises ConfigError naming file and field."""
    path = Path(name_or_path)
    if not path.suffix:
        path = CONFIGS / f"{name_or_path}.yaml"
    raw = _with_meshes(_with_calibration(read_yaml(path, ConfigError), path), path)
    try:
        return SynthConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {validation_text(error)}") from error


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
