"""OBJ materials: options and comments in their text, maps of direction, roughness and metal."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synth.errors import AssetError
from synth.objects.meshes import Mesh, load_mesh
from tests.synth.objects.formats.samples import checkers

UP, TILTED, GREY = (128, 128, 255), (180, 128, 230), (90, 90, 90)
WOOD = (10, 20, 30)


def square(folder: Path, *lines: str, **pictures: tuple[int, int, int]) -> Path:
    """An OBJ square whose material has these lines; the pictures lie beside it as NAME.png."""
    folder.mkdir(exist_ok=True)
    for name, color in pictures.items():
        Image.new("RGB", (8, 4), color).save(folder / f"{name}.png")
    (folder / "m.mtl").write_text("\n".join(["newmtl paint", "Kd 0.5 0.25 1", *lines, ""]))
    corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
    rows = [f"v {x} {y} 0\nvt {x} {y}" for x, y in corners]
    path = folder / "square.obj"
    path.write_text("\n".join(["mtllib m.mtl", *rows, "usemtl paint", "f 1/1 2/2 3/3", "f 1/1 3/3 4/4", ""]))
    return path


def loaded(path: Path) -> Mesh:
    return load_mesh(path, 1.0)


def has_wood(mesh: Mesh) -> bool:
    (part,) = mesh.parts
    return part.texture is not None and bool((part.texture == WOOD).all())


@pytest.mark.parametrize(
    "text",
    [
        "my  wood.png",
        "-s 2 2 1 -o 0 0 0 -mm 0 1 -clamp on my  wood.png",
        "-BM 0.5 -o .5 -1e-3 my  wood.png # grain",
        "-type sphere -imfchan m my  wood.png\t#",
    ],
)
def test_texture_is_named_behind_options_and_before_a_comment(tmp_path: Path, text: str) -> None:
    assert has_wood(loaded(square(tmp_path, f"map_Kd {text}", **{"my  wood": WOOD})))


def test_number_sign_without_a_space_behind_belongs_to_the_name(tmp_path: Path) -> None:
    assert has_wood(loaded(square(tmp_path, "map_Kd wood #2.png", **{"wood #2": WOOD})))


@pytest.mark.parametrize("separator", [" ", "\nmtllib "])
def test_every_library_is_read_and_the_first_material_of_a_name_holds(tmp_path: Path, separator: str) -> None:
    path = square(tmp_path, "map_Kd wood.png", wood=WOOD)
    (tmp_path / "my a.mtl").write_text("newmtl other\nKd 1 0 0\n")
    (tmp_path / "z.mtl").write_text("newmtl paint\nKd 1 0 0\n")
    names = separator.join(["my a.mtl", "gone.mtl", "m.mtl", "z.mtl"])
    path.write_text(path.read_text().replace("m.mtl", f"{names} # all of them"))
    mesh = loaded(path)
    assert has_wood(mesh)
    assert [file.name for file in mesh.files] == ["my a.mtl", "m.mtl", "z.mtl", "wood.png"]
    assert mesh.absent == ("gone.mtl",)


def test_texture_may_lie_beside_its_library(tmp_path: Path) -> None:
    path = square(tmp_path, "map_Kd wood.png", wood=WOOD)
    (tmp_path / "deep").mkdir()
    for name in ("m.mtl", "wood.png"):
        (tmp_path / name).rename(tmp_path / "deep" / name)
    path.write_text(path.read_text().replace("m.mtl", "deep/m.mtl"))
    assert has_wood(loaded(path))


def test_maps_become_those_of_metallic_roughness(tmp_path: Path) -> None:
    path = square(
        tmp_path, "norm up.png", "map_Pr rough.png", "map_Pm metal.png", "Pm 0.5",
        up=TILTED, rough=(200, 200, 200), metal=(40, 40, 40),
    )  # fmt: skip
    mesh = loaded(path)
    (part,) = mesh.parts
    assert {file.name for file in mesh.files} == {"m.mtl", "up.png", "rough.png", "metal.png"}
    assert part.uv is not None
    assert part.normal_texture is not None
    assert part.surface_texture is not None
    assert (part.normal_texture == TILTED).all()
    assert (part.surface_texture[:, :, 1:] == [200, 40]).all()
    assert (part.roughness, part.metallic) == (1.0, 0.5)
    assert part.base_color == pytest.approx((0.5, 0.25, 1.0), abs=0.01)


def test_a_roughness_map_alone_makes_no_metal(tmp_path: Path) -> None:
    (part,) = loaded(square(tmp_path, "map_Pr rough.png", rough=(90, 90, 90))).parts
    assert (part.roughness, part.metallic) == (1.0, 0.0)


@pytest.mark.parametrize("line", ["map_Bump -bm 1.0 up.png", "bump -clamp on up.png", "norm up.png"])
def test_directions_in_a_bump_map_are_read_and_heights_are_not(tmp_path: Path, line: str) -> None:
    (part,) = loaded(square(tmp_path / "directions", line, up=UP)).parts
    assert part.normal_texture is not None
    (part,) = loaded(square(tmp_path / "heights", line, up=GREY)).parts
    assert part.normal_texture is None


def test_factors_without_maps(tmp_path: Path) -> None:
    (part,) = loaded(square(tmp_path, "Pr 0.125", "Pm 1")).parts
    assert (part.roughness, part.metallic) == (0.125, 1.0)
    assert part.surface_texture is None


def test_material_without_them_is_left_as_it_is(tmp_path: Path) -> None:
    (part,) = loaded(square(tmp_path, "Ns 30", "map_Kd kd.png", kd=(10, 20, 30))).parts
    assert part.texture is not None
    assert (part.texture == (10, 20, 30)).all()
    assert part.roughness == pytest.approx((2 / 32) ** 0.25)


def test_files_that_are_absent_are_named_and_those_outside_refused(tmp_path: Path) -> None:
    mesh = loaded(square(tmp_path / "a", "norm gone.png"))
    assert mesh.absent == ("gone.png",)
    Image.new("RGB", (4, 4), UP).save(tmp_path / "outside.png")
    with pytest.raises(AssetError, match="leaves the object's folder"):
        loaded(square(tmp_path / "b", "norm ../outside.png"))


@pytest.mark.parametrize("word", ["shiny", "nan"])
def test_factor_that_is_no_number(tmp_path: Path, word: str) -> None:
    with pytest.raises(AssetError, match=f"Pr is '{word}', expected a number"):
        loaded(square(tmp_path, f"Pr {word}"))


def test_a_picture_without_a_colour_beside_it_is_not_darkened(tmp_path: Path) -> None:
    path = square(tmp_path, "map_Kd wood.png", wood=WOOD)
    for colour, told in (("", 0), ("Kd 0 0 0", 1), ("Kd 1 1 1", 0)):
        (tmp_path / "m.mtl").write_text(f"newmtl paint\n{colour}\nmap_Kd wood.png\n")
        mesh = loaded(path)
        assert mesh.parts[0].base_color == (1.0, 1.0, 1.0)
        assert has_wood(mesh)
        assert len(mesh.not_drawn) == told


@pytest.mark.parametrize(
    ("options", "scale", "shift"),
    [
        ("", (1, 1), (0, 0)),
        ("-o 0.5 0.25 0 -s 2 3 1", (2, 3), (0.5, 0.25)),
        ("-s 2", (2, 1), (0, 0)),
        ("-S 1 -2 -o .5", (1, -2), (0.5, 0)),
    ],
)
def test_the_picture_lies_where_scale_and_origin_put_it(
    tmp_path: Path, options: str, scale: tuple, shift: tuple
) -> None:
    mesh = loaded(square(tmp_path, f"map_Kd {options} my  wood.png", **{"my  wood": WOOD}))
    (part,) = mesh.parts
    assert has_wood(mesh)
    assert part.uv is not None
    np.testing.assert_allclose(part.uv, part.vertices[:, :2] * scale + shift)
    assert mesh.not_drawn == ()


def test_a_clamped_picture_shows_its_edge_beyond_it(tmp_path: Path) -> None:
    path = square(tmp_path, "map_Kd -clamp on -s 2 2 1 checkers.png")
    checkers(tmp_path / "checkers.png")
    (part,) = loaded(path).parts
    assert part.texture is not None
    assert part.uv is not None
    assert part.uv.max() == 1
    assert part.texture[0, -1].tolist() == part.texture[15, 16].tolist() == [30, 200, 30]
    assert part.texture[-1, 0].tolist() == [30, 30, 220]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("map_Kd -mm 0.2 0.5 wood.png", "-mm of map_kd"),
        ("d 0.5", "see-through"),
        ("map_d wood.png", "see-through"),
        ("Ke 1 1 1", "Ke, a light of its own: drawn without it"),
        ("disp wood.png", "disp"),
        ("norm -s 2 2 1 wood.png", None),
        ("map_Kd wood.png\nnorm -s 2 2 1 wood.png", "-s, -o, -clamp of norm"),
    ],
)
def test_what_a_material_asks_for_in_vain_is_told(tmp_path: Path, line: str, what: str | None) -> None:
    found = loaded(square(tmp_path, line, wood=UP)).not_drawn
    assert [what in told for told in found] == [True] if what else found == ()


def test_a_black_material_that_shines_has_the_colour_of_its_light(tmp_path: Path) -> None:
    mesh = loaded(square(tmp_path, "Kd 0 0 0", "Ke 1 0 0"))
    assert mesh.parts[0].base_color == (1.0, 0.0, 0.0)
    mesh = loaded(square(tmp_path, "Kd 0 0 0", "map_Ke wood.png", wood=WOOD))
    assert has_wood(mesh)
    assert any("drawn as its colour" in told for told in mesh.not_drawn)


def test_a_colour_of_one_number_is_grey(tmp_path: Path) -> None:
    (part,) = loaded(square(tmp_path, "Kd 0.25")).parts
    assert part.base_color == pytest.approx((0.25, 0.25, 0.25), abs=0.01)


def test_a_byte_order_mark_hides_no_material(tmp_path: Path) -> None:
    path = square(tmp_path, "map_Kd wood.png", wood=WOOD)
    (tmp_path / "m.mtl").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "m.mtl").read_bytes())
    assert has_wood(loaded(path))
