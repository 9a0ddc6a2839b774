import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from synth.errors import DataError
from train.cli import main
from train.score.compare import compare


def evaluation(folder: Path, errors: list[list[float | None]]) -> Path:
    folder.mkdir()
    result = {
        "bbox": {"ap": 0.5},
        "keypoints": {"ap": 0.6},
        "error_px": {"median": 3.0},
        "per_image": [{"file": f"{n}.jpg", "errors": row} for n, row in enumerate(errors)],
    }
    (folder / "eval.json").write_text(json.dumps(result))
    return folder


def test_the_better_run_wins_its_photos_and_its_difference_is_more_than_chance(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bad = [rng.uniform(0.04, 0.12, 2).tolist() for _ in range(30)]
    good = [(0.5 * np.array(row)).tolist() for row in bad]
    good[0] = [None, None]
    a, b = evaluation(tmp_path / "a", bad), evaluation(tmp_path / "b", good)
    result = compare(a, b)
    assert (result["won_by_a"], result["won_by_b"], result["ties"]) == (1, 29, 0)
    assert result["pck"]["0.05"]["difference"] > 0.4
    assert result["pck"]["0.05"]["p"] < 0.05
    assert result["pck"]["0.05"]["interval"][0] > 0
    assert result["photos"][0]["file"] == "0.jpg"
    shown = CliRunner().invoke(main, ["compare", str(a), str(b), "--out", str(tmp_path / "c.json")])
    assert shown.exit_code == 0, shown.output
    assert "A 1, B 29, tie 0" in shown.output
    assert json.loads((tmp_path / "c.json").read_text())["n_images"] == 30


def test_a_run_against_itself_is_chance(tmp_path: Path) -> None:
    a = evaluation(tmp_path / "a", [[0.01, 0.2], [0.03]])
    result = compare(a, a)
    assert result["ties"] == 2
    assert result["pck"]["0.05"]["difference"] == 0
    assert result["pck"]["0.05"]["p"] == 1


def test_the_difference_of_keypoint_ap_comes_from_the_same_draws(tmp_path: Path) -> None:
    a, b = (evaluation(tmp_path / name, [[0.01], [0.02]]) for name in "ab")
    assert compare(a, b)["keypoint_ap_interval"] is None
    rng = np.random.default_rng(0)
    drawn = rng.uniform(0.4, 0.8, 300)
    for folder, draws in ((a, drawn), (b, drawn + rng.uniform(0.1, 0.2, 300))):
        result = json.loads((folder / "eval.json").read_text()) | {"keypoint_ap_draws": draws.tolist()}
        (folder / "eval.json").write_text(json.dumps(result))
    low, high = compare(a, b)["keypoint_ap_interval"]
    assert 0.1 < low < 0.11
    assert 0.19 < high < 0.2
    shown = CliRunner().invoke(main, ["compare", str(a), str(b)])
    assert f"{low:+.3f} to {high:+.3f}" in shown.output
    turned = json.loads((b / "eval.json").read_text())
    turned["per_image"].reverse()
    (b / "eval.json").write_text(json.dumps(turned))
    assert compare(a, b)["keypoint_ap_interval"] is None


def test_other_photos_or_labels_are_refused(tmp_path: Path) -> None:
    a = evaluation(tmp_path / "a", [[0.01], [0.02]])
    with pytest.raises(DataError, match=r"of other photos: 1 are in one only, such as 1\.jpg"):
        compare(a, evaluation(tmp_path / "b", [[0.01]]))
    with pytest.raises(DataError, match=r"other keypoints in 1.jpg"):
        compare(a, evaluation(tmp_path / "c", [[0.01], [0.02, 0.03]]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"per_image": 3}, "fields are of other types"),
        ({"bbox": None}, "lacks"),
        ({"keypoints": {"ap": "high"}}, "fields are of other types"),
        ({"per_image": [3]}, "per_image is malformed"),
        ({"per_image": []}, "per_image is empty"),
        ({"keypoints": {"ap": 10**400}}, "fields are of other types"),
        ({"keypoint_ap_draws": "x"}, "keypoint_ap_draws: 'x', expected a list of numbers"),
        ({"keypoint_ap_draws": {"a": 1}}, "keypoint_ap_draws: .* expected a list of numbers"),
        ({"keypoint_ap_draws": [None, "x"]}, "expected a list of numbers"),
    ],
)
def test_what_eval_did_not_write_is_refused(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    a = evaluation(tmp_path / "a", [[0.01], [0.02]])
    (a / "eval.json").write_text(json.dumps(json.loads((a / "eval.json").read_text()) | changed))
    with pytest.raises(DataError, match=message):
        compare(a, a)
