"""What a user sees: one clear line and exit code 2 for wrong input, nothing half-written."""

import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh
from click import Command, Context, Group
from click.testing import CliRunner, Result

from train.cli import main

OBJECT_YAML = """\
name: part
mesh: part.ply
unit_m: 0.01
keypoints: {a: [1, 1, 1], b: [-1, -1, -1]}
flip_pairs: undefined
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.output
    for word in words:
        assert word in lines[0]


@pytest.fixture
def part(tmp_path: Path) -> Path:
    folder = tmp_path / "part"
    folder.mkdir()
    trimesh.creation.box(extents=(2, 2, 2)).export(folder / "part.ply")
    (folder / "object.yaml").write_text(OBJECT_YAML)
    return folder


def without_mesh(folder: Path) -> None:
    (folder / "part.ply").unlink()


def with_keypoint_twice(folder: Path) -> None:
    path = folder / "object.yaml"
    path.write_text(path.read_text().replace("b: [-1", "a: [-1"))


def with_nan_vertices(folder: Path) -> None:
    mesh = trimesh.creation.box(extents=(2, 2, 2))
    mesh.vertices[0] = np.nan
    (folder / "part.ply").write_bytes(trimesh.exchange.ply.export_ply(mesh, encoding="ascii"))


def with_zero_size(folder: Path) -> None:
    mesh = trimesh.Trimesh(np.ones((3, 3)), [[0, 1, 2]], process=False)
    mesh.export(folder / "part.ply")


def with_missing_texture(folder: Path) -> None:
    path = folder / "object.yaml"
    path.write_text(path.read_text() + "materials: {'*': {textures: [absent.png]}}\n")


def with_escaping_mesh(folder: Path) -> None:
    shutil.copy(folder / "part.ply", folder.parent / "outside.ply")
    path = folder / "object.yaml"
    path.write_text(path.read_text().replace("mesh: part.ply", "mesh: ../outside.ply"))


def with_unknown_field(folder: Path) -> None:
    path = folder / "object.yaml"
    path.write_text(path.read_text() + "colour: red\n")


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (without_mesh, "does not exist"),
        (with_keypoint_twice, "given twice"),
        (with_nan_vertices, "not finite"),
        (with_zero_size, "zero size"),
        (with_missing_texture, "absent.png"),
        (with_escaping_mesh, "leaves the object's folder"),
        (with_unknown_field, "colour"),
    ],
)
def test_a_spoilt_object_is_refused_and_nothing_written(
    part: Path, tmp_path: Path, spoil: Callable[[Path], None], word: str
) -> None:
    spoil(part)
    out = tmp_path / "out"
    refused(
        run(
            "render",
            "--object",
            str(part),
            "--out",
            str(out),
            "--n",
            "1",
            "--backgrounds",
            "none",
            "--environments",
            "none",
        ),
        word,
    )
    assert not out.exists()


def test_an_unknown_object_lists_the_known_ones(tmp_path: Path) -> None:
    refused(run("render", "--object", "teapot", "--out", str(tmp_path / "x")), "teapot", "chessboard")


def test_an_unknown_config_key_is_named(part: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("camera: {fov: [1, 2]}\n")
    result = run("render", "--object", str(part), "--config", str(config), "--out", str(tmp_path / "x"))
    refused(result, "c.yaml", "camera.fov")


def test_an_empty_folder_of_backgrounds_is_refused(part: Path, tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    out = tmp_path / "x"
    pool = str(tmp_path / "pool")
    refused(
        run(
            "render",
            "--object",
            str(part),
            "--out",
            str(out),
            "--backgrounds",
            pool,
            "--environments",
            "none",
        ),
        "no background photos",
    )
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.gl
def test_render_preview_and_validate_work_together(part: Path, tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text("camera: {width_px: 160, height_px: 120}\n")
    out = tmp_path / "set"
    arguments = [
        "--object",
        str(part),
        "--config",
        str(config),
        "--out",
        str(out),
        "--backgrounds",
        "none",
        "--environments",
        "none",
    ]
    done = run("render", *arguments, "--n", "3", "--workers", "1")
    assert done.exit_code == 0, done.output
    assert run("preview", str(out)).exit_code == 0
    assert (out / "preview.jpg").stat().st_size > 1000
    assert run("validate", str(out)).exit_code == 0
    photos = tmp_path / "photos"
    assert run("convert", str(out), str(photos), "--to", "shapes").exit_code == 0
    (photos / "schema.json").unlink()
    refused(run("preview", str(photos)), "--object")
    assert run("preview", str(photos), "--object", str(part)).exit_code == 0
    assert (photos / "preview.jpg").stat().st_size > 1000


def test_evaluating_without_weights_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "eval"
    refused(run("eval", str(tmp_path / "none"), "--real", str(tmp_path), "--out", str(out)), "none")
    assert not out.exists()


def test_training_on_an_empty_folder_is_refused(part: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "run"
    result = run("train", "--object", str(part), "--real", str(tmp_path / "empty"), "--out", str(out))
    refused(result, "empty")
    assert not out.exists()


def test_a_file_where_a_folder_is_needed_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(run("preview", str(tmp_path / "file")), "file")


def commands(command: Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words behind `meshmark` that name each command and group."""
    yield words
    if isinstance(command, Group):
        for name, inner in sorted(command.commands.items()):
            yield from commands(inner, (*words, name))


@pytest.mark.parametrize("words", [*commands(main)], ids=lambda words: " ".join(("meshmark", *words)))
def test_help_of_every_command_shows_an_example_that_it_takes(words: tuple[str, ...]) -> None:
    lines = [line.strip(" \\") for line in run(*words, "--help").output.splitlines()]
    typed = shlex.split(" ".join(lines[lines.index("Example:") + 2 :]))
    assert typed[: 1 + len(words)] == ["meshmark", *words]
    command, context, left = main, Context(main), typed[1:]
    while isinstance(command, Group):
        command, left = command.commands[left[0]], left[1:]
    command.make_context("example", left, context)  # raises for words and options it does not take
