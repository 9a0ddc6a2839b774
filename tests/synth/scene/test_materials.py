"""Materials of mesh files: read from glTF, and shown alike by both renderers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from synth.asset import MaterialRange, Part
from synth.config import RENDERERS
from synth.objects.library import Library
from synth.objects.meshes import load_mesh
from synth.render.backends import open_renderer
from synth.scene.placement import surface_ranges
from synth.types import Light, Look, SceneSpec

Scenes = Callable[..., SceneSpec]
TILTED = (255, 128, 128)
"""A normal map's colour: the surface faces along the texture's +u."""


def plate(**material: object) -> trimesh.Trimesh:
    """A square of 20 cm in the plane z = 0 that faces up; u runs along x, v along y."""
    corners = np.array([[-0.1, -0.1, 0], [0.1, -0.1, 0], [0.1, 0.1, 0], [-0.1, 0.1, 0]])
    mesh = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], vertex_normals=np.tile([0.0, 0, 1], (4, 1)))
    mesh.visual = TextureVisuals(
        uv=corners[:, :2] / 0.2 + 0.5,
        material=PBRMaterial(metallicFactor=1.0, roughnessFactor=1.0, **material),
    )
    return mesh


def plain(*rgb: int) -> Image.Image:
    return Image.new("RGB", (4, 4), rgb)


def loaded(mesh: trimesh.Trimesh, path: Path) -> Part:
    mesh.export(path)
    (part,) = load_mesh(path, 1.0).parts
    return part


def test_gltf_textures_are_read(tmp_path: Path) -> None:
    part = loaded(
        plate(
            baseColorTexture=plain(200, 30, 40),
            normalTexture=plain(*TILTED),
            metallicRoughnessTexture=plain(0, 90, 10),
        ),
        tmp_path / "plate.glb",
    )
    found = part.texture, part.normal_texture, part.surface_texture
    assert [image[0, 0].tolist() for image in found if image is not None] == [
        [200, 30, 40],
        list(TILTED),
        [0, 90, 10],
    ]


@pytest.mark.parametrize(("suffix", "expected"), [("ply", 128), ("glb", 188)])
def test_vertex_colours_are_read_as_srgb(tmp_path: Path, suffix: str, expected: int) -> None:
    """A PLY holds encoded colours, a glTF linear light."""
    mesh = plate()
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=np.tile([128, 0, 255, 255], (4, 1)))
    part = loaded(mesh, tmp_path / f"plate.{suffix}")
    assert part.vertex_colors is not None
    assert part.vertex_colors == pytest.approx(np.tile([expected, 0, 255], (4, 1)), abs=1)
    assert part.base_color == (1.0, 1.0, 1.0)


@pytest.fixture
def picture(opengl: None, box_library: Library, box_scene: Scenes) -> Callable[..., np.ndarray]:
    """Mean colour of the plate's middle, seen from above on the front side, lit from +x."""

    def take(part: Part, backend: str, **look: float) -> np.ndarray:
        box = box_library.objects[0]
        part = replace(part, name="box")
        library = Library((replace(box, meshes=((part,),), hulls=(part.vertices,)),))
        scene = box_scene(lights=(Light("key", (0.8, 0.0, 0.6), 0.5, (1.0, 1.0, 1.0)),), ambient=0.0)
        (placed,) = scene.objects
        scene = replace(scene, objects=(replace(placed, looks={"box": Look(roughness=1.0, **look)}),))
        renderer = open_renderer(library, backend=backend)
        result = renderer.render(scene)
        renderer.close()
        assert result.instance_id[120, 160] == 1
        return result.rgb[115:125, 155:165].mean((0, 1))

    return take


@pytest.mark.parametrize("backend", RENDERERS)
def test_a_normal_map_turns_the_surface_towards_the_light(
    picture: Callable[..., np.ndarray], tmp_path: Path, backend: str
) -> None:
    images = {side: plain(side, 128, 200) for side in (55, 128, 200)}
    shown = [
        picture(loaded(plate(normalTexture=image), tmp_path / f"{side}.glb"), backend).mean()
        for side, image in images.items()
    ]
    assert shown[0] < 0.75 * shown[1] < 0.75 * shown[2]


@pytest.mark.parametrize("backend", RENDERERS)
def test_a_metallic_texture_takes_the_diffuse_light_away(
    picture: Callable[..., np.ndarray], tmp_path: Path, backend: str
) -> None:
    plastic = loaded(plate(metallicRoughnessTexture=plain(0, 255, 0)), tmp_path / "plastic.glb")
    metal = loaded(plate(metallicRoughnessTexture=plain(0, 255, 255)), tmp_path / "metal.glb")
    assert picture(metal, backend, metallic=1.0).mean() < 0.8 * picture(plastic, backend, metallic=1.0).mean()


@pytest.mark.parametrize("backend", RENDERERS)
def test_vertex_colours_are_shown_and_varied(
    picture: Callable[..., np.ndarray], tmp_path: Path, backend: str
) -> None:
    mesh = plate()
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=np.tile([255, 60, 60, 255], (4, 1)))
    part = loaded(mesh, tmp_path / "plate.ply")
    red, green = picture(part, backend), picture(part, backend, hue=1 / 3)
    assert red[0] > 1.5 * red[1]
    assert green[1] > 1.5 * green[0]


@pytest.mark.slow
def test_both_renderers_show_all_textures_alike(picture: Callable[..., np.ndarray], tmp_path: Path) -> None:
    mesh = plate(
        baseColorTexture=plain(220, 120, 60),
        normalTexture=plain(180, 90, 220),
        metallicRoughnessTexture=plain(0, 120, 128),
    )
    mesh.visual.vertex_attributes["color"] = np.tile([255, 200, 255, 255], (4, 1)).astype(np.uint8)
    part = loaded(mesh, tmp_path / "plate.glb")
    assert part.vertex_colors is not None
    fast, reference = (picture(part, backend, metallic=1.0) for backend in ("fast", "pyrender"))
    assert fast == pytest.approx(reference, abs=4)


@pytest.mark.parametrize(
    ("textured", "given", "roughness", "metallic"),
    [
        (False, MaterialRange((0, 0), (1, 1), (1, 1), None, None, ()), (0.3, 0.8), (1.0, 1.0)),
        (True, MaterialRange((0, 0), (1, 1), (1, 1), None, None, ()), (1.0, 1.0), (1.0, 1.0)),
        (True, MaterialRange((0, 0), (1, 1), (1, 1), (0.1, 0.2), (0, 0), ()), (0.1, 0.2), (0, 0)),
    ],
)
def test_what_an_object_leaves_open_is_as_its_mesh_says(
    tmp_path: Path, textured: bool, given: MaterialRange, roughness: object, metallic: object
) -> None:
    texture = {"metallicRoughnessTexture": plain(0, 90, 10)} if textured else {}
    part = loaded(plate(baseColorTexture=plain(200, 30, 40), **texture), tmp_path / "plate.glb")
    assert surface_ranges(part, given, (0.3, 0.8)) == (roughness, metallic)


def test_factors_that_a_file_leaves_out_are_one_beside_a_texture(tmp_path: Path) -> None:
    mesh = plate(metallicRoughnessTexture=plain(0, 90, 10))
    mesh.visual.material.metallicFactor = mesh.visual.material.roughnessFactor = None
    part = loaded(mesh, tmp_path / "plate.glb")
    assert (part.roughness, part.metallic) == (1.0, 1.0)


@pytest.mark.parametrize("backend", RENDERERS)
def test_the_back_of_an_open_surface_is_lit_as_its_front(
    picture: Callable[..., np.ndarray], tmp_path: Path, backend: str
) -> None:
    front = replace(loaded(plate(), tmp_path / "plate.glb"), metallic=0.0)
    back = replace(front, faces=front.faces[:, ::-1], normals=-front.normals)
    assert not front.closed
    assert picture(back, backend) == pytest.approx(picture(front, backend), abs=1)
    assert picture(front, backend).mean() > 50
