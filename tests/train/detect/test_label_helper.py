import csv
import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from pycocotools.coco import COCO

from synth.dataset.coco import Category
from synth.errors import ConfigError
from train.cli import main
from train.config import TrainConfig
from train.data.samples import read_samples
from train.detect.label_helper import Guess, _labels, _task, certainty, label_helper
from train.model.build import build_model
from train.model.snapshot import make_meta, write_snapshot
from train.runtime import Detection

Maker = Callable[..., Path]
SCORES = {0: (0.48, 0.45), 1: (0.33, 0.1), 2: (), 3: (0.43,)}


def detection(
    score: float, keypoints: Sequence[float] = (0.9, 0.05), visibility: Sequence[float] = (0.8, 0.7)
) -> Detection:
    box = np.array([10.0, 20.0, 70.0, 50.0])
    points = np.array([[12.5, 30.25], [64.0, 40.0]])
    return Detection(box, score, "bug", points, np.array(keypoints), np.array(visibility))


class Stub:
    """Answers by the gray level of the picture."""

    def __init__(self, category: Category) -> None:
        self.categories = (category,)

    def __call__(self, rgb: np.ndarray) -> list[Detection]:  # type: ignore[type-arg]
        return [detection(score) for score in SCORES[round(float(rgb.mean()) / 50)]]

    def n_tiles(self, width: int, height: int) -> int:
        return 0


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / f"p{i}.png" for i in SCORES]
    for i, path in enumerate(paths):
        assert cv2.imwrite(str(path), np.full((60, 80, 3), 50 * i, np.uint8))
    return paths


@pytest.fixture
def out(tmp_path: Path, photos: list[Path], category: Category) -> Path:
    (photos[0].parent / "broken.png").write_bytes(b"not a picture")
    summary = label_helper(
        Stub(category),  # type: ignore[arg-type]
        [*photos, photos[0].parent / "broken.png"],
        tmp_path / "labels",
        0.3,
        0.1,
    )
    assert (summary.photos, summary.objects, len(summary.failed)) == (4, 4, 1)
    return tmp_path / "labels"


def test_least_certain_photos_come_first(out: Path) -> None:
    rows = list(csv.DictReader((out / "priority.csv").read_text().splitlines()))
    assert [Path(row["photo"]).name for row in rows] == ["p1.png", "p3.png", "p0.png", "p2.png"]
    uncertainty = [float(row["uncertainty"]) for row in rows]
    assert uncertainty == sorted(uncertainty, reverse=True)
    assert [row["objects"] for row in rows] == ["1", "1", "2", "0"]
    assert sorted(p.name for p in out.glob("*.png")) == ["1_p1.png", "2_p3.png", "3_p0.png", "4_p2.png"]


def test_no_photo_is_a_formula_of_a_spreadsheet(
    photos: list[Path], category: Category, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos[0].parent)
    photos[0].rename("=cmd.png")
    label_helper(Stub(category), [Path("=cmd.png")], tmp_path / "out", 0.3, 0.1)  # type: ignore[arg-type]
    (row,) = csv.DictReader((tmp_path / "out" / "priority.csv").read_text().splitlines())
    assert row["photo"] == "'=cmd.png"


def test_the_interface_orders_keypoints_for_label_studios_exports(out: Path, category: Category) -> None:
    text = (out / "label_studio.xml").read_text()
    for n, name in enumerate(category.schema.names):
        assert f'<Label value="{name}" model_index="{n}"/>' in text


def test_the_folder_can_be_trained_on_as_it_is(out: Path, category: Category) -> None:
    assert len(read_samples(out, category)) == 4


def test_a_name_that_is_no_utf8_is_left_out(tmp_path: Path, photos: list[Path], category: Category) -> None:
    odd = Path(os.fsdecode(bytes(photos[0].parent) + b"/M\xfcnchen.png"))
    photos[0].rename(odd)
    summary = label_helper(Stub(category), [odd, photos[1]], tmp_path / "new", 0.3, 0.1)  # type: ignore[arg-type]
    assert summary.photos == 1
    assert "rename it" in summary.failed[str(odd)]


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ([0.6], [0.9]),
        ([0.9, 0.55], [0.9]),
        ([0.9, 0.45], [0.9]),
        ([0.45], [0.1]),
        ([0.45], []),
        ([], [0.99]),
    ],
    ids=["weak", "one of two weak", "maybe one more", "maybe one", "maybe one, none", "none"],
)
def test_certainty_falls_with_doubt(less: list[float], more: list[float]) -> None:
    one, other = ([detection(s, (0.9, 0.8)) for s in scores] for scores in (less, more))
    assert 0 <= certainty(one, 0.5) < certainty(other, 0.5) <= 1


def test_coco_file_is_read_by_pycocotools_and_by_training(out: Path, category: Category) -> None:
    file = out / "person_keypoints_default.json"
    coco = COCO(str(file))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == sorted(
        p.name for p in out.glob("*.png")
    )
    samples = read_samples(file, category)
    assert [len(s.boxes) for s in samples] == [1, 1, 2, 0]
    np.testing.assert_allclose(samples[0].keypoints[0], [[12.5, 30.25, 2], [64, 40, 1]])
    assert all(s.image_path.is_file() for s in samples)


def test_only_what_is_seen_is_labelled_visible(category: Category) -> None:
    guess = Guess(Path("p.png"), 80, 60, (detection(0.9, (0.9, 0.9), (0.3, 0.7)),), 0.9)
    (labelled,) = _labels(0, "p.png", guess, {"bug": category}, 0.1).annotations
    assert labelled.keypoints[:, 2].tolist() == [1, 2]


def test_label_studio_tasks_name_what_its_interface_offers(out: Path, category: Category) -> None:
    tasks = json.loads((out / "label_studio.json").read_text())
    view = ET.parse(out / "label_studio.xml").getroot()
    offered = {
        tag.get("name"): (tag.tag.lower(), tag.get("toName"), {label.get("value") for label in tag})
        for tag in view
    }
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=labels/1_p1.png"
    assert [t["predictions"][0]["score"] for t in tasks] == sorted(
        t["predictions"][0]["score"] for t in tasks
    )
    results = tasks[0]["predictions"][0]["result"]
    assert [r["type"] for r in results] == ["rectanglelabels", "keypointlabels", "keypointlabels"]
    for result in results:
        kind, target, labels = offered[result["from_name"]]
        assert (kind, target) == (result["type"], result["to_name"])
        assert set(result["value"][kind]) <= labels
    assert results[0]["value"] == {
        "x": 12.5,
        "y": pytest.approx(100 / 3),
        "width": 75.0,
        "height": pytest.approx(50),
        "rotation": 0,
        "rectanglelabels": ["bug"],
    }
    assert results[1]["value"]["x"] == pytest.approx(15.625)
    assert {r["parentID"] for r in results[1:]} == {results[0]["id"]}


def test_labels_that_may_be_corrected_are_not_overwritten(
    out: Path, photos: list[Path], category: Category
) -> None:
    before = (out / "person_keypoints_default.json").read_bytes()
    with pytest.raises(ConfigError, match="not empty"):
        label_helper(Stub(category), photos, out, 0.5, 0.1)  # type: ignore[arg-type]
    assert (out / "person_keypoints_default.json").read_bytes() == before


def test_label_helper_from_the_command_line(
    photo_folder: Maker, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    model = build_model(tiny_config.model, 2, 2, vendor=False)
    write_snapshot(tmp_path / "best", make_meta(tiny_config, [category], [None], {}), model.state_dict())
    photos = photo_folder(n=2) / "images"
    (photos / "broken.jpg").write_bytes(b"x")
    result = CliRunner().invoke(
        main, ["label-helper", str(tmp_path / "best"), str(photos), "--out", str(tmp_path / "o")]
    )
    assert result.exit_code == 1
    assert "left out" in result.output
    assert len(read_samples(tmp_path / "o" / "person_keypoints_default.json", category)) == 2


def test_keypoints_beyond_the_picture_are_not_labelled(category: Category) -> None:
    beyond = replace(detection(0.9), keypoints=np.array([[-3.0, 5.0], [20.0, 30.0]]))
    guess = Guess(Path("a.jpg"), 80, 60, (beyond,), 1.0)
    own = {beyond.name: category}
    (annotation,) = _labels(0, "a.jpg", guess, own, 0.01).annotations
    assert annotation.keypoints[:, 2].tolist() == [0, 2]
    results = _task("a.jpg", guess, own)["predictions"][0]["result"]
    assert [r["value"]["keypointlabels"] for r in results if r["type"] == "keypointlabels"] == [["tail"]]
