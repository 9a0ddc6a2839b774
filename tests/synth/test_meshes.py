"""Which surfaces are closed: of those the renderer leaves out the backs."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from synth.assets import load_object
from synth.meshes import is_closed, load_mesh
from synth.render.base import unit_shape
from synth.sample import SHAPES


def torus() -> trimesh.Trimesh:
    return trimesh.creation.torus(3.0, 1.0, major_sections=24, minor_sections=12)


def unwelded(mesh: trimesh.Trimesh, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """As files with a normal for each corner hold it, places rounded."""
    corners = mesh.triangles.reshape(-1, 3)
    corners = corners + noise * np.random.default_rng(0).normal(size=corners.shape)
    return corners, np.arange(len(corners)).reshape(-1, 3)


@pytest.mark.parametrize("noise", [0.0, 1e-8])
def test_closed_whether_corners_are_shared_or_not(noise: float) -> None:
    assert is_closed(torus().vertices, torus().faces)
    assert is_closed(*unwelded(torus(), noise))
    assert is_closed(torus().vertices + 1e4, torus().faces)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_distractors_shapes_are_closed(shape: str) -> None:
    corners, _, _ = unit_shape(shape)
    assert is_closed(corners, np.arange(len(corners)).reshape(-1, 3))


def test_open_or_inside_out_is_not_closed() -> None:
    vertices, faces = torus().vertices, torus().faces
    assert not is_closed(vertices, faces[1:])
    assert not is_closed(vertices, faces[:, ::-1])
    assert not is_closed(vertices, np.concatenate([faces[:1, ::-1], faces[1:]]))
    assert not is_closed(np.zeros((3, 3)), np.array([[0, 1, 2]]))


def test_one_piece_inside_out_is_enough() -> None:
    ball, torus_ = trimesh.creation.icosphere(2, 1.0), torus()
    turned = trimesh.Trimesh(ball.vertices, ball.faces[:, ::-1], process=False)
    both = trimesh.util.concatenate([torus_, ball])
    assert is_closed(both.vertices, both.faces)
    mixed = trimesh.util.concatenate([torus_, turned])
    assert not is_closed(mixed.vertices, mixed.faces)


def test_the_tubes_body_cap_and_neck_are_closed() -> None:
    for parts in load_object("glue_tube").meshes:
        assert {part.name for part in parts if part.closed} == {"body", "cap", "neck"}


def test_an_stl_that_is_inside_out_is_turned(tmp_path: Path) -> None:
    box = trimesh.creation.box()
    box.invert()
    box.export(tmp_path / "a.stl")
    (part,) = load_mesh(tmp_path / "a.stl", 1.0).parts
    assert (np.einsum("ij,ij->i", part.normals, part.vertices) > 0).all()
