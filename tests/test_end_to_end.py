"""From a mesh to a score on real photos, tiny: the path every user takes, with real files all along."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from synth.fetch.chessboards import chessboard_photos
from train.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.gl]

PHOTOS = 5


def meshmark(*arguments: str) -> None:
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.fixture
def few_photos(tmp_path: Path) -> Path:
    """The first real chessboard photos as a data set of their own."""
    source = chessboard_photos()
    document = json.loads((source / "annotations.json").read_text())
    document["images"] = document["images"][:PHOTOS]
    ids = {image["id"] for image in document["images"]}
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] in ids]
    folder = tmp_path / "photos"
    (folder / "images").mkdir(parents=True)
    for image in document["images"]:
        (folder / image["file_name"]).write_bytes((source / image["file_name"]).read_bytes())
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def test_render_train_and_evaluate_on_real_photos(tmp_path: Path, few_photos: Path) -> None:
    config = tmp_path / "synth.yaml"
    config.write_text("camera: {width_px: 320, height_px: 240}\n")
    synth, run, scores = tmp_path / "synth", tmp_path / "run", tmp_path / "eval"
    pool = ["--backgrounds", "none", "--environments", "none", "--config", str(config)]

    meshmark("render", "--object", "chessboard", "--n", "12", "--out", str(synth), *pool)
    meshmark("validate", str(synth), "--object", "chessboard")
    meshmark(
        *("train", "--object", "chessboard", "--synth", str(synth), "--real", str(few_photos)),
        *("--real-fraction", "0.5", "--out", str(run), "--steps", "6"),
    )
    meshmark("eval", str(run), "--real", str(few_photos), "--object", "chessboard", "--out", str(scores))

    result = json.loads((scores / "eval.json").read_text())
    assert result["n_images"] == result["n_objects"] == PHOTOS
    for group, key in (("bbox", "ap"), ("bbox", "ap50"), ("keypoints", "ap"), ("keypoints", "ap50")):
        assert 0.0 <= result[group][key] <= 1.0
    assert set(result["pck"]) >= {"0.05", "0.10"}
    assert set(result["per_keypoint"]) == {"tl", "tm", "tr", "br", "bm", "bl"}
    for name in ("predictions.jpg", "worst.jpg"):
        assert (scores / name).stat().st_size > 5000
    assert (run / "curves.png").stat().st_size > 5000
