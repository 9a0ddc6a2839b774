import doctest
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from pycocotools.coco import COCO

from synth.dataset.coco import Category, object_category
from synth.errors import ConfigError, DataError
from synth.types import Array
from train.cli import main
from train.config import TrainConfig
from train.detect import predict
from train.detect.inputs import film_size, find_inputs
from train.detect.predict import Detector, InferenceSettings
from train.detect.predict_files import distinct, overlay_names
from train.model.build import build_model
from train.model.snapshot import make_meta, write_snapshot
from train.runtime import drop_duplicates

Maker = Callable[..., Any]


@pytest.fixture
def weights(tmp_path: Path, tiny_config: TrainConfig) -> Path:
    """An untrained network for glue tubes: its answers mean nothing, but they are answers."""
    category: Category = object_category("glue_tube")[0]
    model = build_model(tiny_config.model, 2, 2, vendor=False)
    write_snapshot(
        tmp_path / "train" / "best", make_meta(tiny_config, [category], [None], {}), model.state_dict()
    )
    return tmp_path / "train"


@pytest.fixture
def photos(tmp_path: Path, draw: Maker) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f"p{i}.jpg"), draw(i).rgb)
    return folder


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["predict", *(str(a) for a in arguments), "--device", "cpu"])


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def test_a_folder_gives_overlays_lines_and_results_that_pycocotools_loads(
    weights: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = invoke(weights, photos, "--out", out, "--score", 0, "--detections", 4)
    assert done.exit_code == 0, done.output
    assert [Path(row["image"]).name for row in rows(out)] == ["p0.jpg", "p1.jpg", "p2.jpg"]
    found = rows(out)[0]["objects"]
    assert 0 < len(found) <= 4
    assert set(found[0]["keypoints"]) == {"head", "tail"}
    assert sorted(p.name for p in (out / "overlays").iterdir()) == ["p0.jpg", "p1.jpg", "p2.jpg"]
    coco = COCO(str(out / "images.json"))
    loaded = coco.loadRes(str(out / "results.json"))
    assert len(loaded.getAnnIds(imgIds=[1])) == len(found)
    first = loaded.loadAnns(loaded.getAnnIds(imgIds=[1]))[0]
    assert first["keypoints"][:2] == pytest.approx(found[0]["keypoints"]["head"][:2], abs=0.01)


def test_a_corrupt_picture_is_named_and_left_out(weights: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "p1.jpg").write_bytes(b"\xff\xd8 not a picture")
    done = invoke(weights, photos, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "p1.jpg: not readable as an image" in done.output
    assert [Path(row["image"]).name for row in rows(tmp_path / "out")] == ["p0.jpg", "p2.jpg"]


def test_a_picture_that_claims_a_billion_pixels_is_left_out(
    weights: Path, photos: Path, tmp_path: Path
) -> None:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (photos / "huge.png").write_bytes(png)
    done = invoke(weights, photos, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "huge.png: not readable as an image" in done.output


def film(path: Path, draw: Maker) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (160, 120))
    for i in range(4):
        writer.write(np.ascontiguousarray(draw(i).rgb[:, :, ::-1]))
    writer.release()
    return path


def test_a_video_gives_a_video(weights: Path, tmp_path: Path, draw: Maker) -> None:
    video = film(tmp_path / "film.avi", draw)
    done = invoke(weights, video, "--out", tmp_path / "out", "--frames", 3)
    assert done.exit_code == 0, done.output
    assert [row["image"] for row in rows(tmp_path / "out")] == [f"{video}#{i}" for i in range(3)]
    written = cv2.VideoCapture(str(tmp_path / "out" / "overlays" / "film.mp4"))
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert written.get(cv2.CAP_PROP_FRAME_WIDTH) == 160
    written.release()


def test_globs_and_numbers_are_inputs(photos: Path) -> None:
    assert [p.name for p in find_inputs([f"{photos}/*2.jpg"])[0]] == ["p2.jpg"]
    with pytest.raises(DataError, match="no image or video"):
        find_inputs([str(photos / "*.txt")])
    (film,) = find_inputs(["99"])[1]
    with pytest.raises(DataError, match="99: cannot be opened as a camera"):
        film_size(film)


def test_a_broken_video_is_named_and_left_out(weights: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "film.mp4").write_bytes(bytes(1000))
    done = invoke(weights, photos, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "film.mp4: cannot be opened as a video" in done.output
    assert len(rows(tmp_path / "out")) == 3


def test_a_video_that_breaks_off_is_named_and_its_beginning_kept(
    weights: Path, tmp_path: Path, draw: Maker
) -> None:
    video = film(tmp_path / "film.avi", draw)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    done = invoke(weights, video, "--out", tmp_path / "out")
    assert done.exit_code == 1
    kept = len(rows(tmp_path / "out"))
    assert 0 < kept < 3
    assert f"film.avi: breaks off after {kept} of 4 frames" in done.output


def test_photos_of_one_name_keep_their_own_overlays() -> None:
    names = overlay_names([Path("a/x.jpg"), Path("b/x.jpg"), Path("b/x_2.jpg")])
    assert len(set(names.values())) == 3


def test_films_of_one_name_keep_their_own_overlays() -> None:
    assert distinct(["film", "film", "film_2", "other"]) == ["film", "film_2", "film_2_2", "other"]


def test_settings_rule_what_is_found(weights: Path, draw: Maker) -> None:
    rgb = draw(0).rgb

    def found(**chosen: Any) -> int:
        return len(Detector.load(weights, settings=InferenceSettings(**chosen))(rgb))

    assert found(score=0.0, detections=5) <= 5
    assert found(score=1.0) == 0
    assert found(score=0.0, nms=1.0, detections=100) > found(score=0.0, nms=0.1, detections=100)
    assert found(score=0.0, long_side_px=96) >= 0


@pytest.mark.parametrize(
    "wrong", [{"score": 1.5}, {"nms": -0.1}, {"detections": 0}, {"long_side_px": 10}], ids=str
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        InferenceSettings(**wrong)


def test_the_example_in_the_docstring_runs(weights: Path, draw: Maker) -> None:
    class Untrained(Detector):
        @classmethod
        def load(cls, folder: Any, device: Any = "cpu", settings: Any = None) -> Any:
            return Detector.load(
                weights, device, InferenceSettings(score=0.0, detections=settings.detections)
            )

    text = (Detector.__doc__ or "").replace(
        "from train.detect.predict import Detector, InferenceSettings", "pass"
    )
    scope = {"Detector": Untrained, "InferenceSettings": InferenceSettings, "rgb": draw(0).rgb}
    test = doctest.DocTestParser().get_doctest(text, scope, "Detector", predict.__file__, 0)
    assert len(test.examples) == 4
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


@pytest.mark.parametrize("content", [b"\x80\x04\x95pickle", b"\xff" * 8 + b"{}", b""])
def test_weights_that_are_no_safetensors_are_refused(
    weights: Path, photos: Path, tmp_path: Path, content: bytes
) -> None:
    (weights / "best" / "model.safetensors").write_bytes(content)
    done = invoke(weights, photos, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "not readable as safetensors" in done.output
    assert not (tmp_path / "out").exists()


def test_a_detection_is_as_sure_as_its_box_and_its_keypoints_together(weights: Path, draw: Maker) -> None:
    rgb = draw(0).rgb
    every = Detector.load(weights, settings=InferenceSettings(score=0.0)).found(rgb)
    assert every.keypoint_scores is not None
    shares = every.scores / every.keypoint_scores.mean(1)
    assert 0 < shares.min() <= shares.max() <= 1
    assert (np.diff(every.scores) <= 0).all()
    middle = float(np.median(every.scores))
    some = Detector.load(weights, settings=InferenceSettings(score=middle)).found(rgb)
    np.testing.assert_array_equal(some.scores, every.scores[every.scores >= middle])


BOX = np.array([0.0, 0.0, 100.0, 40.0])
LEFT, RIGHT = np.array([[5.0, 5.0], [5.0, 35.0]]), np.array([[95.0, 5.0], [95.0, 35.0]])


@pytest.mark.parametrize(
    ("points", "name", "kept"),
    [
        (LEFT + 3, "part", False),
        (np.stack((LEFT[0], RIGHT[1])), "part", False),
        (LEFT[::-1], "part", True),
        (LEFT + np.array([0, 6]), "part", True),
        (np.stack((LEFT[0], [50.0, 35.0])), "part", True),
        (LEFT, "other part", True),
    ],
)
def test_what_has_no_keypoint_of_its_own_is_no_further_object(points: Array, name: str, kept: bool) -> None:
    found = drop_duplicates([BOX] * 3, ["part", "part", name], [LEFT, RIGHT, points])
    assert found == ([0, 1, 2] if kept else [0, 1])


def test_nothing_found_stays_nothing() -> None:
    assert drop_duplicates([], [], []) == []
