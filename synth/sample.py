"""Pure samplers: sample_scene(config, library, seed, index) -> SceneSpec.

Every sampler draws from its own random stream (seed, index, sampler's name), so that a change in one
reshuffles no other, and image i never depends on image i - 1.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from synth.background import SURFACES
from synth.calibration import Calibration
from synth.config import SynthConfig
from synth.environment import photo_key, small_photo
from synth.geometry import (
    axis_angle,
    intrinsics,
    look_at,
    random_rotation,
    rays,
    rigid,
)
from synth.instance import Library, hull_world, outline
from synth.mesh_pool import MeshPool
from synth.piling import pile_objects
from synth.placement import (
    FILL,
    convex_overlap,
    footprint,
    ground_points,
    log_uniform,
    sample_count,
    sample_objects,
    usual_hull,
)
from synth.types import (
    Array,
    Background,
    Camera,
    Distortion,
    Distractor,
    Environment,
    Light,
    ObjectAsset,
    ObjectInstance,
    SceneSpec,
    Sensor,
)

SHAPES = ("box", "cylinder", "sphere", "capsule", "cone")
SURFACE_SEEDS = 12
"""Procedural surfaces come from this many seeds a kind, so that a worker can keep them;
tints make more of them."""
TINT = (0.45, 1.0)
PHOTO_PULL = 4.0
"""How strongly a photo's bright side draws the key light."""
PHOTO_LUMINANCE = 0.2
"""Mean linear light of a photo as bright as most."""
EYE_ROOM = 1.2
"""Distractors are at least this many of their half diagonals from the camera."""
TURNS = 4
"""About the vertical within a half turn: so often an object is looked at to see how large it may look."""
STEPS = 1.25, 0.8, 1.6, 0.6, 2.0
"""Where no object finds a place, the camera goes so many times as far away, one after another."""
Rng = np.random.Generator


def stream(seed: int, index: int, sampler: str) -> Rng:
    """The random stream of one sampler for one image."""
    return np.random.default_rng(np.random.SeedSequence([seed, index, zlib.crc32(sampler.encode())]))


def sample_scene(config: SynthConfig, library: Library, seed: int, index: int) -> SceneSpec:
    """The whole scene of image `index`: a function of its arguments alone."""
    choice = stream(seed, index, "object")
    asset = library.objects[choice.integers(len(library.objects))]
    on_plane = asset.placement.mode != "free"
    size = log_uniform(choice, asset.apparent_size)
    camera = sample_camera(config, asset, size, stream(seed, index, "camera"))
    camera = sample_distortion(config, camera, stream(seed, index, "distortion"))
    count = sample_count(config, stream(seed, index, "count"))
    objects = sample_objects(config, asset, camera, size, count, stream(seed, index, "objects"))
    first = camera
    for factor in STEPS if count else ():
        if objects:
            break
        camera = farther(first, factor)
        objects = sample_objects(config, asset, camera, size / factor, count, stream(seed, index, "objects"))
    objects = pile_objects(config, asset, camera, objects, stream(seed, index, "piled"))
    distractors = sample_distractors(config, asset, camera, objects, stream(seed, index, "distractors"))
    distractors = mesh_distractors(
        config, library.meshes, on_plane, distractors, stream(seed, index, "distractor meshes")
    )
    background = sample_background(
        config, library.photos, asset.diameter_m, on_plane, stream(seed, index, "background")
    )
    tints = stream(seed, index, "tints")
    lights = sample_lights(config, stream(seed, index, "lights"), stream(seed, index, "fills"))
    ambient = float(stream(seed, index, "ambient").uniform(*config.light.ambient))
    environment = sample_environment(
        config, library, background, lights[0], stream(seed, index, "environment")
    )
    if environment and not environment.map and library.photo_folder:
        photo = small_photo(library.photo_folder, background, camera)
        lights, ambient = lit_as(photo, config, camera, lights, ambient)
    lights, ambient = within_white(lights, ambient)
    return SceneSpec(
        seed=seed,
        index=index,
        camera=camera,
        objects=objects,
        distractors=tuple(replace(d, tint=sample_tint(tints)) for d in distractors),
        lights=lights,
        ambient=ambient,
        background=replace(background, tint=sample_tint(tints)),
        sensor=sample_optics(
            config, sample_sensor(config, stream(seed, index, "sensor")), stream(seed, index, "optics")
        ),
        environment=environment,
    )


def sample_camera(config: SynthConfig, asset: ObjectAsset, size: float, rng: Rng) -> Camera:
    """A camera that sees an object over the world's origin with about `size`, and looks at the middle of what
    that shows above the ground.

    size: the object's longest extent as a share of the image's longer side.
    """
    c = config.camera
    longer = max(c.width_px, c.height_px)
    focal = longer / 2 / math.tan(math.radians(rng.uniform(*c.fov_deg)) / 2)
    if c.calibration:
        focal = c.calibration.matrix[0] * longer / max(c.calibration.width_px, c.calibration.height_px)
    distance = focal * asset.diameter_m / (size * longer)
    elevation = rng.uniform(*asset.placement.elevation)
    if rng.random() < c.top_view and asset.placement.mode == "resting":
        elevation = math.pi / 2
    azimuth = rng.uniform(-math.pi, math.pi)
    free, usual = asset.placement.mode == "free", usual_hull(asset)
    target = np.array([0.0, 0.0, 0.0 if free else max(0.0, usual[:, 2].max() / 2)])
    eye = target + distance * np.array(
        [
            math.cos(elevation) * math.cos(azimuth),
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
        ]
    )
    roll = math.radians(rng.uniform(*c.roll_deg))
    if elevation > math.radians(89):
        roll = rng.uniform(-math.pi, math.pi)
    T = look_at(eye, target, roll)
    camera = (
        calibrated_camera(c.calibration, longer, T)
        if c.calibration
        else Camera(c.width_px, c.height_px, intrinsics(c.width_px, c.height_px, focal), T)
    )
    return camera if free else at_size(camera, usual, target, size)


def at_size(camera: Camera, corners: Array, target: Array, size: float) -> Camera:
    """The camera so far from `target` (3,) that the hull `corners` (N, 3) has `size` where it looks largest,
    turned about the vertical, or less where the image would cut it."""
    turned = [corners @ axis_angle((0.0, 0.0, 1.0), n * math.pi / TURNS).T for n in range(TURNS)]
    image = np.array([camera.width_px, camera.height_px])
    for _ in range(2):
        boxes = [outline(camera, points) for points in turned]
        if any(box is None for box in boxes):
            return camera
        extent = np.max([box[2:] - box[:2] for box in boxes if box is not None], axis=0)
        factor = max(extent.max() / (size * image.max()), *extent / (FILL * image))
        camera = farther(camera, float(factor), target)
    return camera


def farther(camera: Camera, factor: float, target: Array | None = None) -> Camera:
    """The camera so many times as far from `target` (3,), by default the world's origin."""
    T = camera.T_world_from_camera.copy()
    origin = np.zeros(3) if target is None else target
    T[:3, 3] = origin + factor * (T[:3, 3] - origin)
    return replace(camera, T_world_from_camera=T)


def calibrated_camera(calibration: Calibration, longer_px: int, T_world_from_camera: Array) -> Camera:
    """The real camera at that pose, its image scaled to the longer side."""
    scale = longer_px / max(calibration.width_px, calibration.height_px)
    fx, fy, cx, cy = (scale * value for value in calibration.matrix)
    K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    lens = Distortion(calibration.model, calibration.coefficients) if calibration.coefficients else None
    size = round(scale * calibration.width_px), round(scale * calibration.height_px)
    return Camera(*size, K, T_world_from_camera, lens)


def sample_distortion(config: SynthConfig, camera: Camera, rng: Rng) -> Camera:
    """`camera`, for the distorted share with a Brown-Conrady lens of one radial term."""
    c = config.camera
    share, moved = rng.random(), rng.uniform(*c.distortion)
    if c.calibration or share >= c.distorted or not moved:
        return camera
    corner = math.hypot(camera.width_px, camera.height_px) / 2 / camera.K[0, 0]
    return replace(camera, distortion=Distortion("brown-conrady", (moved / corner**2, 0.0, 0.0, 0.0)))


def sample_distractors(
    config: SynthConfig, asset: ObjectAsset, camera: Camera, objects: Sequence[ObjectInstance], rng: Rng
) -> tuple[Distractor, ...]:
    """Unlabelled things beside, behind and (occluders) in front of the objects, none around the camera."""
    low, high = config.distractors.count
    eye = camera.T_world_from_camera[:3, 3]
    reach = float(np.linalg.norm(eye))
    on_plane = asset.placement.mode != "free"
    footprints = [footprint(hull_world(asset, o)) for o in objects] if on_plane else []
    distractors = []
    for _ in range(int(rng.integers(low, high + 1))):
        size = asset.diameter_m * log_uniform(rng, config.distractors.size)
        x, y, z = (float(size * s) for s in np.exp(rng.uniform(-1.6, 0.0, 3)))
        shape = SHAPES[rng.integers(len(SHAPES))]
        R = random_rotation(rng)
        pixel = rng.uniform([0.0, 0.0], [camera.width_px, camera.height_px])
        if objects and rng.random() < config.distractors.occluders:
            target = hull_world(asset, objects[int(rng.integers(len(objects)))])
            edge = target[rng.integers(len(target))]
            nearer = rng.uniform(0.45, 0.85)
            shrink = 0.7 * nearer
            x, y, z = x * shrink, y * shrink, z * shrink
            centre = eye + (edge - eye) * nearer
            if on_plane:
                centre[2] = max(centre[2], 0.6 * max(x, y, z))
        elif on_plane:
            ground = ground_points(camera, pixel[None])[0]
            if ground is None or np.linalg.norm(ground - eye) > 4 * reach:
                continue
            R = axis_angle((0.0, 0.0, 1.0), rng.uniform(-math.pi, math.pi))
            radius = math.hypot(x, y) / 2
            ring = [(math.cos(a) * radius, math.sin(a) * radius) for a in np.linspace(0, 2 * math.pi, 9)[:-1]]
            if any(convex_overlap(np.array(ring) + ground[:2], f) for f in footprints):
                continue
            centre = ground + np.array([0.0, 0.0, z / 2])
        else:
            behind = reach * rng.uniform(1.3, 2.5)
            x, y, z = x * 1.5, y * 1.5, z * 1.5
            centre = eye + rays(camera, pixel[None])[0] * behind
        if np.linalg.norm(centre - eye) < EYE_ROOM * math.hypot(x, y, z) / 2:
            continue
        distractors.append(
            Distractor(
                shape=shape,
                size_m=(x, y, z),
                T_world_from_object=rigid(R, centre),
                surface=SURFACES[rng.integers(len(SURFACES))],
                surface_seed=int(rng.integers(SURFACE_SEEDS)),
                roughness=float(rng.uniform(0.15, 1.0)),
                metallic=float(rng.random() < 0.15),
            )
        )
    return tuple(distractors)


def mesh_distractors(
    config: SynthConfig, pool: MeshPool | None, on_plane: bool, distractors: Sequence[Distractor], rng: Rng
) -> tuple[Distractor, ...]:
    """`distractors`, the share `mesh_share` of them replaced by meshes of the pool that are no larger.

    What stands on the ground rests there in a stable pose; half show a random surface, half their own.
    """
    return tuple(
        _as_mesh(pool, on_plane, d, rng) if pool and rng.random() < config.distractors.mesh_share else d
        for d in distractors
    )


def _as_mesh(pool: MeshPool, on_plane: bool, distractor: Distractor, rng: Rng) -> Distractor:
    name = pool.names[int(rng.integers(len(pool.names)))]
    mesh = pool[name]
    size, T = max(distractor.size_m), distractor.T_world_from_object.copy()
    if on_plane and math.isclose(T[2, 2], 1.0):
        T[:3, :3] = T[:3, :3] @ mesh.poses[rng.choice(len(mesh.poses), p=[p for _, p in mesh.poses])][0]
        corners = mesh.corners @ T[:3, :3].T
        room = math.hypot(*distractor.size_m[:2]) / 2
        size = min(size, room / float(np.linalg.norm(corners[:, :2], axis=1).max()))
        T[2, 3] = -size * corners[:, 2].min()
    x, y, z = (size * side for side in mesh.size)
    surface = distractor.surface if rng.random() < 0.5 else ""
    return replace(distractor, shape=name, size_m=(x, y, z), T_world_from_object=T, surface=surface)


def sample_tint(rng: Rng) -> tuple[float, float, float]:
    """Linear RGB factors."""
    r, g, b = (float(x) for x in rng.uniform(*TINT) * rng.uniform(*TINT, 3) ** rng.uniform(0.0, 1.0))
    return r, g, b


def sample_lights(config: SynthConfig, rng: Rng, more: Rng) -> tuple[Light, ...]:
    """A key light that casts shadows, and weaker fill lights from other sides.

    more: the stream of the key light's size, of the number of fill lights and of those after the first.
    """
    c = config.light
    azimuth = rng.uniform(-math.pi, math.pi)
    key = _direction(azimuth, math.radians(rng.uniform(*c.key_elevation_deg)))
    first = _direction(azimuth + rng.uniform(1.5, 4.8), math.radians(rng.uniform(20, 80)))
    irradiance, color = float(rng.uniform(*c.key_irradiance)), kelvin_to_rgb(rng.uniform(*c.temperature_k))
    fills = [Light("fill", first, float(rng.uniform(*c.fill)), kelvin_to_rgb(rng.uniform(*c.temperature_k)))]
    radius = math.radians(more.uniform(*c.key_radius_deg))
    count = int(more.integers(c.fills[0], c.fills[1] + 1))
    while len(fills) < count:
        side = _direction(more.uniform(-math.pi, math.pi), math.radians(more.uniform(20, 80)))
        temperature = more.uniform(*c.temperature_k)
        fills.append(Light("fill", side, float(more.uniform(*c.fill)), kelvin_to_rgb(temperature)))
    return (Light("key", key, irradiance, color, radius), *fills[:count])


def sample_environment(
    config: SynthConfig, library: Library, background: Background, key: Light, rng: Rng
) -> Environment | None:
    """The background's photo, or a map of the pool with its bright side where the key light stands."""
    c = config.light
    by_photo, by_map, number = rng.random(3)
    if background.kind == "photo" and by_photo < c.from_photo:
        return Environment("", 0.0)
    if not library.environments or by_map >= c.environment:
        return None
    chosen = library.environments[int(number * len(library.environments))]
    return Environment(chosen, math.atan2(key.direction[1], key.direction[0]))


def lit_as(
    photo: NDArray[np.float32], config: SynthConfig, camera: Camera, lights: tuple[Light, ...], ambient: float
) -> tuple[tuple[Light, ...], float]:
    """Lights and ambient light so that things look as if they stood in the photo.

    photo: (h, w, 3) linear RGB of what the image shows of it. The key light stands where the photo is bright
    and has that colour; all light is the weaker the darker the photo is.
    """
    place, color, luminance = photo_key(photo)
    towards = np.array(lights[0].direction) + PHOTO_PULL * camera.T_world_from_camera[:3, :2] @ place
    low, high = (math.radians(angle) for angle in config.light.key_elevation_deg)
    elevation = min(max(math.atan2(towards[2], math.hypot(towards[0], towards[1])), low), high)
    r, g, b = (float(value) for value in color)
    level = float(np.clip(math.sqrt(luminance / PHOTO_LUMINANCE), 0.5, 1.4))
    key = replace(
        lights[0], direction=_direction(math.atan2(towards[1], towards[0]), elevation), color=(r, g, b)
    )
    return tuple(
        replace(light, irradiance=level * light.irradiance) for light in (key, *lights[1:])
    ), level * ambient


def within_white(lights: tuple[Light, ...], ambient: float) -> tuple[tuple[Light, ...], float]:
    """Lights as bright as one another as before, but no more than render a white surface white.

    Renderers record no more than that, and what is lost there no exposure brings back.
    """
    level = 1 / max(1.0, ambient + sum(light.irradiance for light in lights))
    return tuple(replace(light, irradiance=level * light.irradiance) for light in lights), level * ambient


def kelvin_to_rgb(kelvin: float) -> tuple[float, float, float]:
    """Linear RGB, maximum 1, of a black body relative to daylight at 6,500 K.

    Planck's law at 610, 550 and 465 nm.
    """

    def planck(t: float) -> Array:
        wavelength = np.array([610e-9, 550e-9, 465e-9])
        return np.asarray(1.0 / (wavelength**5 * np.expm1(1.4388e-2 / (wavelength * t))))

    rgb = planck(kelvin) / planck(6500.0)
    r, g, b = rgb / rgb.max()
    return float(r), float(g), float(b)


def sample_background(
    config: SynthConfig, photos: Sequence[str], diameter: float, on_plane: bool, rng: Rng
) -> Background:
    """A photo of the pool (if there is one) or a procedural surface."""
    is_photo = rng.random() < config.background.photo and len(photos) > 0
    zoom = rng.uniform(0.35, 1.0)
    x0, y0 = rng.uniform(0.0, 1.0 - zoom, 2)
    return Background(
        kind="photo" if is_photo else SURFACES[rng.integers(len(SURFACES))],
        photo=photos[int(rng.integers(len(photos)))] if is_photo else "",
        crop=(float(x0), float(y0), float(zoom), float(zoom)),
        flip=bool(rng.random() < 0.5),
        seed=int(rng.integers(SURFACE_SEEDS)),
        tile_m=float(diameter * log_uniform(rng, config.background.tile)),
        roughness=float(rng.uniform(*config.background.roughness)),
        on_plane=on_plane,
    )


def sample_sensor(config: SynthConfig, rng: Rng) -> Sensor:
    c = config.sensor
    moving = rng.random() < c.motion
    r, g, b = rng.uniform(*c.white_balance, 3)
    return Sensor(
        mean_light=float(rng.uniform(*c.mean_light)),
        white_balance=(float(r), float(g), float(b)),
        contrast=float(rng.uniform(*c.contrast)),
        blur_sigma_px=float(rng.uniform(*c.blur_sigma_px)),
        motion_px=float(rng.uniform(*c.motion_px)) if moving else 0.0,
        motion_angle=float(rng.uniform(0.0, math.pi)),
        noise_shot=float(rng.uniform(*c.noise_shot)),
        noise_read=float(rng.uniform(*c.noise_read)),
        jpeg_quality=int(rng.integers(c.jpeg_quality[0], c.jpeg_quality[1] + 1)),
    )


def sample_optics(config: SynthConfig, sensor: Sensor, rng: Rng) -> Sensor:
    """`sensor` with what the lens adds."""
    c = config.sensor

    def in_share(share: float, limits: tuple[float, float]) -> float:
        chosen, value = rng.random() < share, float(rng.uniform(*limits))
        return value if chosen else 0.0

    return replace(
        sensor,
        tone=float(rng.uniform(*c.tone)),
        defocus_px=in_share(c.defocus, c.defocus_px),
        chromatic=in_share(c.fringes, c.chromatic),
        vignetting=in_share(c.vignetted, c.vignetting),
        objects_move=bool(rng.random() < c.objects_move),
    )


def _direction(azimuth: float, elevation: float) -> tuple[float, float, float]:
    flat = math.cos(elevation)
    return flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)
