import base64
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from synth.errors import AssetError
from synth.objects import gltf_budget
from synth.objects.gltf_budget import check_budget
from synth.objects.mesh_files import read_scene


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"accessors": [{"count": 1 << 26, "type": "MAT4"}]}, "more than 268435456 numbers"),
        ({"accessors": [{"count": 1 << 24, "type": "VEC3"}]}, "without a bufferView of more than"),
        ({"accessors": [{"count": 1 << 27, "type": "VEC3", "bufferView": 0}]}, "more than 268435456 numbers"),
        ({"nodes": [{"mesh": 0}] * 10_001, "meshes": [{"primitives": [{}]}]}, "10001 parts"),
        ({"nodes": [{"mesh": 0}], "meshes": [{"primitives": [{}] * 10_001}]}, "10001 parts"),
        ({"meshes": [{"primitives": [{}] * 10_001}]}, "10001 parts"),
    ],
)
def test_headers_that_promise_too_much_are_refused(header: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_budget(header)


def test_headers_of_usual_files_pass() -> None:
    accessors = [{"count": 5_000_000, "type": "VEC3", "bufferView": 0}, {"count": 1000, "type": "VEC3"}]
    check_budget({"accessors": accessors, "nodes": [{"mesh": 0}, {}], "meshes": [{"primitives": [{}]}]})


@pytest.fixture
def textured(tmp_path: Path) -> Path:
    box = trimesh.creation.box()
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.new("RGB", (64, 64)))
    box.visual = trimesh.visual.TextureVisuals(uv=np.zeros((len(box.vertices), 2)), material=material)
    box.export(tmp_path / "a.glb")
    return tmp_path / "a.glb"


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_pixels_of_textures_count_as_often_as_materials_use_them(
    textured: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == ".gltf":
        content = io.BytesIO()
        Image.new("RGB", (64, 64)).save(content, "PNG")
        header: Any = {"asset": {"version": "2.0"}, "textures": [{"source": 0}]}
        header["images"] = [{"uri": "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()}]
        header["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
        textured = textured.with_suffix(".gltf")
        textured.write_text(json.dumps(header))
    else:
        read_scene(textured, textured.parent)
    monkeypatch.setattr(gltf_budget, "MAX_TEXTURE_PIXELS", 64 * 64 - 1)
    with warnings.catch_warnings(), pytest.raises(AssetError, match="textures of 0 Mpx, expected at most"):
        read_scene(textured, textured.parent)


def test_trimesh_says_nothing_beside_the_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trimesh.creation.box().export(tmp_path / "a.ply", encoding="ascii")
    text = (tmp_path / "a.ply").read_text()
    text = text.replace("\nelement vertex", "\ncomment TextureFile ../b.png\nelement vertex")
    (tmp_path / "a.ply").write_text(text)
    with pytest.raises(AssetError, match="leaves the object's folder"):
        read_scene(tmp_path / "a.ply", tmp_path)
    assert capfd.readouterr().err == ""
