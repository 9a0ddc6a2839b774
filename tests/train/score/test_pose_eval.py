import json
from pathlib import Path
from typing import Any

import pytest

from synth.errors import DataError
from synth.inspect.turntable import view
from synth.objects.load import load_object
from synth.scene.scene_json import scene_to_json
from train.score.pose_eval import evaluate_poses


def test_a_rendered_set_of_another_object_is_refused(tmp_path: Path) -> None:
    scene = view(load_object("chessboard"), 3)
    row: dict[str, Any] = {"index": 3, "scene": scene_to_json(scene), "annotations": []}
    (tmp_path / "scenes.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="image 3: shows chessboard, expected glue_tube"):
        evaluate_poses(tmp_path, tmp_path, "glue_tube", tmp_path / "out", 5, "cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": None}, "not what `meshmark render` logs"),
        ({"scene": None}, "not what `meshmark render` logs"),
        ({"scene": {"seed": 0}}, "KeyError"),
    ],
)
def test_a_row_that_is_no_scene_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    row = {"index": 0, "scene": scene_to_json(view(load_object("glue_tube"), 0)), "annotations": [], **change}
    (tmp_path / "scenes.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=f"image 0: .*{message}"):
        evaluate_poses(tmp_path, tmp_path, "glue_tube", tmp_path / "out", 5, "cpu")
