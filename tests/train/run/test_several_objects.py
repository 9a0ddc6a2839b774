"""One detector of two objects: bugs of two keypoints and kites of three."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from rich.console import Console

from synth.dataset.coco import Annotation, Category, ImageLabels, write_coco
from synth.errors import ConfigError, DataError
from synth.types import KeypointSchema
from tests.train.conftest import HEIGHT, WIDTH, draw_bugs, gently, write_jpeg
from train.cli import main
from train.config import AugmentConfig, TrainConfig, with_changes
from train.data.samples import read_samples
from train.data.transforms import Augmenter, Objects
from train.detect.export import export
from train.detect.predict import Detector, InferenceSettings
from train.model.heatmaps import Calibration
from train.model.snapshot import check_objects, make_meta, network_for, write_snapshot
from train.run import sources as run_sources
from train.run.batches import TrainData
from train.run.engine import train
from train.runtime import OnnxDetector
from train.score.evaluate import detect_all, print_table
from train.score.metrics import evaluate
from train.types import Found, Truth, truth_of

Maker = Callable[..., Path]
BUG = Category(1, "bug", KeypointSchema(("nose", "tail"), ((0, 1),), (), (0.08, 0.08)))
KITE = Category(2, "kite", KeypointSchema(("top", "left", "right"), ((0, 1), (0, 2)), None, (0.05,) * 3))
BOTH = (BUG, KITE)


def draw_kite(seed: int) -> tuple[Any, Any, Any]:
    """Picture, box (1, 4) and keypoints (1, 3, 3): a triangle with a black, a white and a green corner."""
    rng = np.random.default_rng(seed)
    rgb = np.full((HEIGHT, WIDTH, 3), rng.integers(60, 140, 3), dtype=np.uint8)
    middle = np.array([WIDTH, HEIGHT]) / 2 + rng.uniform(-25, 25, 2)
    angles = rng.uniform(0, 2 * np.pi) + np.array([0.0, 2.0, 4.3])
    points = middle + 26 * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    cv2.fillPoly(rgb, [np.round((points - 0.5) * 16).astype(np.int32)], (230, 210, 40), cv2.LINE_AA, 4)
    for point, color in zip(points, ((10, 10, 10), (255, 255, 255), (20, 160, 40)), strict=True):
        at = tuple(round(float(c - 0.5) * 16) for c in point)
        cv2.circle(rgb, at, 5 * 16, color, -1, cv2.LINE_AA, 4)
    box = np.concatenate([points.min(0), points.max(0)])
    return rgb, box[None], np.column_stack([points, np.full(3, 2.0)])[None]


@pytest.fixture
def kite_folder(tmp_path: Path) -> Maker:
    def make(name: str, n: int, seed: int) -> Path:
        images = []
        for i in range(n):
            rgb, boxes, keypoints = draw_kite(seed * 1000 + i)
            write_jpeg(tmp_path / name / "images" / f"{i:03}.jpg", rgb)
            rows = (Annotation(1, boxes[0], keypoints[0], float(np.prod(boxes[0, 2:] - boxes[0, :2]))),)
            images.append(ImageLabels(i + 1, f"images/{i:03}.jpg", WIDTH, HEIGHT, rows))
        write_coco(tmp_path / name / "annotations.json", [replace(KITE, id=1)], images)
        return tmp_path / name

    return make


@pytest.fixture
def photo_of_both(tmp_path: Path) -> Path:
    """A folder with one photo, a bug on its left half and a kite on its right, and a COCO file."""
    bug, (kite, box, points) = draw_bugs(5), draw_kite(6)
    rgb = np.concatenate((bug.rgb, kite), axis=1)
    write_jpeg(tmp_path / "both" / "photo.jpg", rgb)
    shift = np.array([WIDTH, 0.0])
    rows = (
        Annotation(1, bug.boxes[0], bug.keypoints[0], 1500.0),
        Annotation(2, box[0] + np.tile(shift, 2), points[0] + [*shift, 0], 1200.0),
    )
    write_coco(
        tmp_path / "both" / "annotations.json", BOTH, [ImageLabels(1, "photo.jpg", 2 * WIDTH, HEIGHT, rows)]
    )
    return tmp_path / "both"


@pytest.fixture
def untrained(tmp_path: Path, tiny_config: TrainConfig) -> Path:
    """A snapshot whose answers mean nothing, but are of both objects."""
    config = with_changes(
        tiny_config, {"model": {"weights": "none", "score_threshold": 0.001, "detections": 200}}, "x"
    )
    meta = make_meta(config, BOTH, (None, np.zeros((3, 3))), {})
    calibration = Calibration((1.0, 0.5), (1.0, 0.0)), Calibration((0.5, -1.0), (2.0, 1.0))
    meta = replace(meta, calibration=calibration)
    torch.manual_seed(2)
    write_snapshot(tmp_path / "run" / "best", meta, network_for(meta, vendor=False).state_dict())
    return tmp_path / "run"


@pytest.mark.slow
def test_two_objects_are_learnt_by_one_network(
    coco_folder: Maker, kite_folder: Maker, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = gently(tiny_config, 120, gray=0)
    bugs, kites = coco_folder("bugs", n=40, seed=1), kite_folder("kites", 40, 1)
    rendered = read_samples(bugs, *BOTH) + read_samples(kites, *BOTH)
    unseen = read_samples(coco_folder("other bugs", 8, 2), *BOTH)
    unseen += read_samples(kite_folder("other kites", 8, 2), *BOTH)
    meta = make_meta(config, BOTH, (None, None), {})
    result = train(meta, TrainData(rendered, (), unseen[::4]), tmp_path / "run", "cpu")
    founds = detect_all(Detector.load(result.best), unseen)
    measured = evaluate([truth_of(sample) for sample in unseen], founds, BOTH)["by_object"]
    for name in ("bug", "kite"):
        assert measured[name]["n_found"] >= 0.8 * measured[name]["n_objects"]
        assert measured[name]["pck"]["0.10"] > 0.4


def test_labels_and_keypoints_of_each_object_are_read_from_its_own_folder(
    coco_folder: Maker, kite_folder: Maker
) -> None:
    bugs = read_samples(coco_folder(n=1), *BOTH)[0]
    kites = read_samples(kite_folder("kites", 1, 0), *BOTH)[0]
    assert (bugs.labels.tolist(), kites.labels.tolist()) == ([1], [2])
    assert bugs.keypoints.shape == kites.keypoints.shape == (1, 3, 3)
    assert bugs.keypoints[0, :, 2].tolist() == [2, 2, 0]
    assert read_samples(coco_folder(n=1), BUG)[0].keypoints.shape == (1, 2, 3)


def test_one_json_a_photo_does_not_say_which_object_it_is(photo_folder: Maker) -> None:
    with pytest.raises(DataError, match="does not say which objects are bug, kite; expected a COCO file"):
        read_samples(photo_folder(), *BOTH)


def test_file_with_neither_object_is_refused(coco_folder: Maker) -> None:
    with pytest.raises(
        DataError, match=r"categories are \['bug'\], expected one of them to be 'kite' or 'hat'"
    ):
        read_samples(coco_folder(n=1), KITE, replace(KITE, name="hat"))


def test_picture_is_mirrored_only_if_every_object_in_it_may_be() -> None:
    paired = replace(KITE.schema, flip_pairs=((1, 2),))
    off = AugmentConfig(geometry=0, flip=1, color=0, hue=0, gray=0, shadow=0, blur=0, noise=0, jpeg=0)
    rgb = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    points = np.arange(18.0).reshape(2, 3, 3)
    objects = Objects(points, (np.zeros((2, 2)), np.ones((2, 2))), np.ones(2), np.array([1, 2]))
    only_bugs = replace(objects, labels=np.array([1, 1]))
    for schemas, seen, mirrors in (
        ((BUG.schema, KITE.schema), objects, False),
        ((BUG.schema, KITE.schema), only_bugs, True),
        ((BUG.schema, paired), objects, True),
    ):
        view, moved = Augmenter(off, *schemas)(rgb, seen, 0)
        assert (view == (rgb[:, ::-1] if mirrors else rgb)).all()
    flipped = points * [-1, 1, 1] + [30, 0, 0]
    np.testing.assert_allclose(moved.keypoints[0], flipped[0], atol=1e-4)
    np.testing.assert_allclose(moved.keypoints[1], flipped[1, [0, 2, 1]], atol=1e-4)


def truth_and_answers() -> tuple[Truth, Found]:
    """A bug found 4 px off, a kite found exactly; K = 3, of which the bug's last means nothing."""
    boxes = np.array([[0.0, 0, 60, 40], [100, 0, 160, 40]])
    points = np.array([[[5.0, 20, 2], [55, 20, 2], [0, 0, 0]], [[100, 0, 2], [130, 40, 2], [160, 0, 2]]])
    labels = np.array([1, 2])
    found = points[..., :2] + [[[4.0, 0]], [[0, 0]]]
    found[0, 2] = 999.0
    scores = np.array([0.9, 0.8])
    truth = Truth(boxes, labels, points, np.array([2400.0, 2400.0]), np.zeros(2, dtype=bool))
    return truth, Found(boxes, scores, labels, found, np.full((2, 3), 0.5))


def test_each_object_is_measured_with_its_own_keypoints_and_sigmas() -> None:
    truth, found = truth_and_answers()
    result = evaluate([truth], [found], BOTH)
    assert result["by_object"]["kite"]["keypoints"]["ap"] == pytest.approx(1.0)
    bug = result["by_object"]["bug"]["keypoints"]["ap"]
    oks = np.exp(-16 / (8 * 2400 * 0.08**2))
    assert bug == pytest.approx(np.mean(oks >= np.arange(0.5, 1.0, 0.05)))
    assert result["keypoints"]["ap"] == pytest.approx((1 + bug) / 2)
    assert result["pck"]["0.05"] == pytest.approx(3 / 5)
    assert result["by_object"]["bug"]["pck"]["0.05"] == 0
    assert (result["n_keypoints"], result["by_object"]["bug"]["n_found"]) == (5, 1)
    assert list(result["per_keypoint"]) == ["bug nose", "bug tail", "kite top", "kite left", "kite right"]
    assert result["oks_sigmas"] == {"bug": [0.08, 0.08], "kite": [0.05] * 3}


def test_the_table_of_objects_is_whole_at_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    truth, found = truth_and_answers()
    both = [replace(BUG, name="a_longer_name"), replace(KITE, name="another_long_name")]
    print_table({"object": "both", **evaluate([truth], [found], both)}, Console(width=80))
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert re.search(r"median px +│ +4\.000 │ +0\.000", shown)


def test_names_in_brackets_are_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    truth, found = truth_and_answers()
    both = [replace(BUG, name="bug[/old]"), replace(KITE, name="kite[red]")]
    print_table({"object": "[/both]", **evaluate([truth], [found], both)}, Console(width=120))
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("[/both]", "bug[/old] nose", "kite[red] top", "kite[red] ┃"))


def test_detection_of_another_object_finds_nothing() -> None:
    truth, found = truth_and_answers()
    swapped = replace(found, labels=found.labels[::-1])
    result = evaluate([truth], [swapped], BOTH)
    assert (result["n_found"], result["keypoints"]["ap"]) == (0, 0.0)


@pytest.mark.slow
def test_detections_carry_their_own_name_and_keypoints(untrained: Path, photo_of_both: Path) -> None:
    rgb = cv2.imread(str(photo_of_both / "photo.jpg"))
    assert rgb is not None
    ours = Detector.load(untrained)
    found = ours(rgb)
    assert {d.name: d.keypoints.shape for d in found} == {"bug": (2, 2), "kite": (3, 2)}
    export(untrained, untrained / "both.onnx", "onnx", InferenceSettings())
    theirs = OnnxDetector.load(untrained / "both.onnx", threads=1)
    assert [o.keypoint_names for o in theirs.exported.objects] == [BUG.schema.names, KITE.schema.names]
    assert theirs.exported.objects[0].keypoints_m is None
    for a, b in zip(theirs(rgb), found, strict=True):
        assert a.name == b.name
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=0.1)
        np.testing.assert_allclose(a.keypoint_scores, b.keypoint_scores, atol=1e-3)
        np.testing.assert_allclose(a.keypoint_visibility, b.keypoint_visibility, atol=1e-3)


def test_narrowed_detector_finds_one_object_only(untrained: Path, photo_of_both: Path) -> None:
    rgb = cv2.imread(str(photo_of_both / "photo.jpg"))
    assert rgb is not None
    detector = Detector.load(untrained)
    expected = [d for d in detector(rgb) if d.name == "kite"]
    detector.narrow([KITE], "w")
    assert [(d.name, d.score) for d in detector(rgb)] == [("kite", d.score) for d in expected]
    assert (detector.found(rgb).labels == 1).all()
    with pytest.raises(DataError, match=r"w: the weights are for kite with K = 3 .*bug has K = 2"):
        detector.narrow([BUG], "w")
    with pytest.raises(DataError, match="w: the weights are for bug, kite, not for hat"):
        Detector.load(untrained).narrow([replace(KITE, name="hat")], "w")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_commands_write_both_objects(untrained: Path, photo_of_both: Path, tmp_path: Path) -> None:
    photo, out = photo_of_both / "photo.jpg", tmp_path / "out"
    for command in (
        ("predict", untrained, photo, "--out", out / "predict", "--score", 0, "--device", "cpu"),
        ("label-helper", untrained, photo, "--out", out / "labels", "--score", 0.001, "--device", "cpu"),
        ("eval", untrained, "--real", photo_of_both, "--out", out / "eval", "--device", "cpu"),
    ):
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    (row,) = [json.loads(line) for line in (out / "predict" / "predictions.jsonl").read_text().splitlines()]
    keypoints = {o["name"]: set(o["keypoints"]) for o in row["objects"]}
    assert keypoints == {"bug": set(BUG.schema.names), "kite": set(KITE.schema.names)}
    results = json.loads((out / "predict" / "results.json").read_text())
    assert {(r["category_id"], len(r["keypoints"])) for r in results} == {(1, 6), (2, 9)}
    (sample,) = read_samples(out / "labels" / "person_keypoints_default.json", *BOTH)
    assert set(sample.labels.tolist()) == {1, 2}
    assert set(json.loads((out / "eval" / "eval.json").read_text())["by_object"]) == {"bug", "kite"}
    assert "<h2>By object</h2>" in (out / "eval" / "report.html").read_text()


def test_objects_of_a_run_get_ids_of_their_own_and_names_must_differ() -> None:
    categories, points = run_sources.object_categories(["glue_tube", "chessboard"])
    assert [(c.id, c.name) for c in categories] == [(1, "glue_tube"), (2, "chessboard")]
    assert [len(p) for p in points] == [2, 6]
    with pytest.raises(ConfigError, match="chessboard, chessboard, expected objects of different names"):
        run_sources.object_categories(["chessboard", "chessboard"])


def test_run_of_other_objects_cannot_go_on() -> None:
    with pytest.raises(DataError, match="w: the weights are for bug, asked for bug, kite"):
        check_objects([BUG], BOTH, "w")
    with pytest.raises(DataError, match="w: the weights are for bug, kite, asked for kite, bug"):
        check_objects(BOTH, BOTH[::-1], "w")
    check_objects([BUG], [replace(BUG, name="beetle")], "w")


def test_validation_images_come_from_every_set_and_every_object_must_be_shown(
    coco_folder: Maker, kite_folder: Maker, tiny_config: TrainConfig
) -> None:
    config = with_changes(tiny_config, {"data": {"holdout": 0.5, "max_validation_images": 4}}, "x")
    bugs, kites = coco_folder("bugs", n=20, seed=1), kite_folder("kites", 20, 1)
    points = (None, None)
    data = run_sources.load_run(config, BOTH, points, run_sources.TrainSources((bugs, kites)), False)[1]
    assert {sample.image_path.parents[1].name for sample in data.validation} == {"bugs", "kites"}
    assert len(data.validation) == 4
    with pytest.raises(ConfigError, match="--object kite: no training image shows one"):
        run_sources.load_run(config, BOTH, points, run_sources.TrainSources((bugs,)), False)


def test_several_objects_are_not_rendered_online(tmp_path: Path) -> None:
    arguments = [
        "--synth",
        "online",
        "--object",
        "glue_tube",
        "--object",
        "chessboard",
        "--out",
        tmp_path / "r",
    ]
    done = invoke("train", *arguments, "--backgrounds", "none", "--preset", "cpu")
    assert done.exit_code == 2
    assert "online: renders one object, expected folders for several" in done.stderr
