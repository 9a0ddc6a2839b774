"""Pure samplers: sample_scene(config, library, seed, index) -> SceneSpec.

Every sampler draws from its own random stream (seed, index, sampler's name), so that a change in one
reshuffles no other, and image i never depends on image i - 1.
"""

from dataclasses import replace

from synth.config import SynthConfig
from synth.objects.library import Library
from synth.scene.background import sample_background
from synth.scene.camera import farther, sample_camera, sample_distortion
from synth.scene.distractors import mesh_distractors, sample_distractors
from synth.scene.environment import small_photo
from synth.scene.lights import lit_as, sample_environment, sample_lights, within_white
from synth.scene.piling import pile_objects
from synth.scene.placement import sample_count, sample_objects
from synth.scene.sensors import sample_optics, sample_sensor
from synth.scene.streams import log_uniform, stream
from synth.scene.surfaces import sample_tint
from synth.types import SceneSpec

STEPS = 1.25, 0.8, 1.6, 0.6, 2.0
"""Where no object finds a place, the camera goes so many times as far away, one after another."""


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
    if environment and not environment.map and library.photos:
        photo = small_photo(library.photos, background, camera)
        lights, ambient = lit_as(photo, config, camera, lights, ambient)
    lights, ambient = within_white(lights, ambient)
    return SceneSpec(
        seed=seed,
        index=index,
        camera=camera,
        objects=objects,
        distractors=tuple(replace(d, tint=sample_tint(config.distractors.tint, tints)) for d in distractors),
        lights=lights,
        ambient=ambient,
        background=replace(background, tint=sample_tint(config.background.tint, tints)),
        sensor=sample_optics(
            config, sample_sensor(config, stream(seed, index, "sensor")), stream(seed, index, "optics")
        ),
        environment=environment,
    )
