import doctest
import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from pycocotools.coco import COCO

from synth.dataset.coco import Category, object_category
from synth.errors import ConfigError, DataError
from synth.inspect.drawing import PALETTE
from synth.types import Array
from train.cli import main
from train.config import TrainConfig
from train.detect import predict
from train.detect.inputs import film_size, find_inputs, left_out_of
from train.detect.predict import Detector, InferenceSettings
from train.detect.predict_files import coco_result, detection_to_json, distinct, overlay, overlay_names
from train.model.build import build_model
from train.model.snapshot import make_meta, write_snapshot
from train.runtime import Detection, Exported, ExportedObject, OnnxDetector, drop_duplicates

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


def test_a_threshold_that_is_too_high_is_told_from_a_detector_that_finds_nothing(
    weights: Path, photos: Path, tmp_path: Path
) -> None:
    done = invoke(weights, photos, "--out", tmp_path / "out", "--score", 0.99)
    assert done.exit_code == 0, done.output
    assert "0 objects in 3 pictures" in done.output
    said = re.search(
        r"the highest score in the first pictures is (0\.\d\d), below --score 0\.99", done.output
    )
    assert said is not None
    assert 0 < float(said[1]) < 0.99


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


def test_what_a_folder_holds_beside_is_named(photos: Path) -> None:
    count = len(find_inputs([str(photos)])[0])
    (photos / "1.HEIC").write_bytes(b"\0")
    (photos / "._p1.jpg").write_bytes(b"\0")
    assert len(find_inputs([str(photos)])[0]) == count
    assert left_out_of([str(photos), "99"]) == [
        f"{photos}: 1 picture (1.HEIC) not read: convert to JPEG or PNG"
    ]
    with pytest.raises(DataError, match="convert what is there to JPEG"):
        find_inputs([str(photos / "1.HEIC")])


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


def bright_square(picture: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a network finds that knows one object: the bright square of a picture (3, H, W), in [0, 1]."""
    rows, columns = torch.where(picture[0] > 0.5)
    box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
    return {
        "boxes": box[None],
        "scores": torch.tensor([0.9]),
        "labels": torch.tensor([1]),
        "keypoints": torch.cat((box.view(2, 2), torch.ones(2, 1)), dim=1)[None],
        "keypoints_scores": torch.ones(1, 2),
        "keypoints_visibility": torch.tensor([[0.9, 0.2]]),
    }


class Spots:
    """Stands in for the network, as PyTorch and as ONNX Runtime call it; remembers the sizes it saw."""

    training = False
    roi_heads = type("Heads", (), {"score_thresh": 0.05})

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def eval(self) -> None: ...

    def train(self, mode: bool) -> None: ...

    def find_objects(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        self.sizes.append(tuple(image.shape[1:]))
        return bright_square(image)

    def run(self, _: None, inputs: dict[str, Any]) -> list[Any]:
        self.sizes.append(inputs["image"].shape[:2])
        found = bright_square(torch.from_numpy(inputs["image"]).permute(2, 0, 1).float() / 255)
        found["keypoints"] = found["keypoints"][..., :2]
        return [value.numpy() for value in found.values()]


@pytest.fixture
def square() -> Any:
    rgb = np.zeros((480, 640, 3), dtype=np.uint8)
    rgb[203:281, 117:215] = 255
    return rgb


def test_a_second_look_reads_finer_than_the_first(square: Any) -> None:
    category, device = object_category("glue_tube")[0], torch.device("cpu")
    spots: Any = Spots()
    found = Detector(spots, [category], 64, device, crop_px=128, crop_reach=1.5).found(square)
    assert spots.sizes == [(48, 64), (128, 128)]
    assert found.boxes[0] == pytest.approx([117, 203, 215, 281], abs=1.3)
    assert found.keypoints[0] == pytest.approx(np.array([[117, 203], [215, 281]]), abs=1.3)
    coarse = Detector(spots, [category], 64, device).found(square)
    assert np.abs(coarse.boxes[0] - [117, 203, 215, 281]).max() > 2


def test_an_exported_file_looks_twice_at_the_same_places(square: Any) -> None:
    category, device = object_category("glue_tube")[0], torch.device("cpu")
    ours: Any = Spots()
    theirs: Any = Spots()
    expected = Detector(ours, [category], 64, device, crop_px=128, crop_reach=1.5).found(square)
    kind = ExportedObject("glue_tube", category.schema.names, (), None, (0.1, 0.1), None)
    found = OnnxDetector(theirs, Exported((kind,), 64, 0.05, 0.5, 128, 1.5, 0.05), 0.05)(square)
    assert theirs.sizes == ours.sizes
    np.testing.assert_allclose(found[0].box_xyxy, expected.boxes[0], atol=1e-4)
    np.testing.assert_allclose(found[0].keypoints, expected.keypoints[0], atol=1e-4)
    assert expected.keypoint_visibility is not None
    np.testing.assert_allclose(found[0].keypoint_visibility, expected.keypoint_visibility[0])


def test_a_file_of_before_visibility_says_that_all_is_visible(square: Any) -> None:
    class Older(Spots):
        def run(self, _: None, inputs: dict[str, Any]) -> list[Any]:
            return super().run(_, inputs)[:5]

    older: Any = Older()
    kind = ExportedObject("glue_tube", ("head", "tail"), (), None, (0.1, 0.1), None)
    (found,) = OnnxDetector(older, Exported((kind,), 64, 0.05, 0.5, 128, 1.5, 0.05), 0.05)(square)
    assert found.keypoint_visibility.tolist() == [1, 1]


HALF_HIDDEN = Detection(
    np.array([10.0, 20.0, 70.0, 50.0]),
    0.9,
    "glue_tube",
    np.array([[12.5, 30.25], [64.0, 40.0]]),
    np.array([0.9, 0.8]),
    np.array([0.75, 0.25]),
)


def test_hidden_keypoints_carry_v_1_and_unsure_ones_v_0() -> None:
    row = coco_result(HALF_HIDDEN, 1, 1, keypoint_score=0.5)
    assert row["keypoints"] == [12.5, 30.25, 2, 64.0, 40.0, 1]
    assert coco_result(HALF_HIDDEN, 1, 1, keypoint_score=0.85)["keypoints"][5] == 0
    said = detection_to_json(HALF_HIDDEN, ("head", "tail"))
    assert said["keypoints"] == {"head": [12.5, 30.25, 0.9, 0.75], "tail": [64.0, 40.0, 0.8, 0.25]}


def test_overlays_show_hidden_keypoints_as_rings() -> None:
    category, ground = object_category("glue_tube")[0], np.full((80, 100, 3), 60, np.uint8)
    drawn = overlay(ground, [HALF_HIDDEN], [category], 0.5)
    seen, hidden = drawn[30, 12], drawn[40, 64]
    assert np.abs(seen.astype(int) - PALETTE[0]).max() < 30
    assert np.abs(hidden.astype(int) - PALETTE[1]).max() > 30


def test_a_second_look_that_is_less_sure_changes_nothing(square: Any) -> None:
    class Unsure(Spots):
        def find_objects(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            found = super().find_objects(image)
            found["scores"] *= 0.5 if image.shape[1] == 128 else 1.0
            return found

    category, device = object_category("glue_tube")[0], torch.device("cpu")
    unsure: Any = Unsure()
    twice = Detector(unsure, [category], 64, device, crop_px=128, crop_reach=1.5).found(square)
    once = Detector(unsure, [category], 64, device).found(square)
    np.testing.assert_array_equal(twice.boxes, once.boxes)


def test_the_score_asked_for_is_that_of_the_second_look(square: Any) -> None:
    class Weak(Spots):
        """Sure of what it sees in a crop alone."""

        def find_objects(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            found = super().find_objects(image)
            found["scores"] *= 0.3 if image.shape[1] == 48 else 1.0
            return found

        def run(self, _: None, inputs: dict[str, Any]) -> list[Any]:
            boxes, scores, *rest = super().run(_, inputs)
            return [boxes, scores * (0.3 if inputs["image"].shape[0] == 48 else 1.0), *rest]

    category, device = object_category("glue_tube")[0], torch.device("cpu")
    weak: Any = Weak()
    kind = ExportedObject("glue_tube", category.schema.names, (), None, (0.1, 0.1), None)
    exported = Exported((kind,), 64, 0.05, 0.5, 128, 1.5, 0.05)
    for score, count in ((0.5, 1), (0.95, 0)):
        assert len(Detector(weak, [category], 64, device, 128, 1.5, score).found(square).boxes) == count
        assert len(OnnxDetector(weak, exported, score)(square)) == count


def test_a_second_look_at_the_edge_gives_a_box_within_the_photo() -> None:
    """The square's brightness goes on beyond the edge, and so does what the network finds."""
    rgb = np.zeros((480, 640, 3), dtype=np.uint8)
    rgb[403:, 517:] = 255
    category, device = object_category("glue_tube")[0], torch.device("cpu")
    spots: Any = Spots()
    found = Detector(spots, [category], 64, device, crop_px=128, crop_reach=1.5).found(rgb)
    assert found.boxes[0] == pytest.approx([517, 403, 640, 480], abs=1.5)
    assert (found.boxes[0, 2:] == (640, 480)).all()
    kind = ExportedObject("glue_tube", category.schema.names, (), None, (0.1, 0.1), None)
    exported = OnnxDetector(spots, Exported((kind,), 64, 0.05, 0.5, 128, 1.5, 0.05), 0.05)(rgb)
    np.testing.assert_allclose(exported[0].box_xyxy, found.boxes[0], atol=1e-4)


def test_a_network_that_looks_twice_keeps_its_own_threshold_for_the_first_look(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    category = object_category("glue_tube")[0]
    for crop_px, kept in ((0, 0.7), (64, tiny_config.model.score_threshold)):
        model_config = tiny_config.model.model_copy(update={"crop_px": crop_px})
        meta = make_meta(tiny_config.model_copy(update={"model": model_config}), [category], [None], {})
        folder = tmp_path / str(crop_px)
        write_snapshot(folder, meta, build_model(model_config, 2, 2, vendor=False).state_dict())
        detector = Detector.load(folder, settings=InferenceSettings(score=0.7))
        assert detector._model.roi_heads.score_thresh == kept
        assert detector._score == 0.7
