import json
from pathlib import Path

import pytest

from synth.errors import DataError
from synth.inspect.turntable import view
from synth.objects.load import load_object
from synth.scene.scene_json import scene_to_json
from train.score.pose_eval import evaluate_poses


def test_a_rendered_set_of_another_object_is_refused(tmp_path: Path) -> None:
    scene = view(load_object("chessboard"), 3)
    row = {"index": 3, "scene": scene_to_json(scene), "annotations": []}
    (tmp_path / "scenes.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="image 3: shows chessboard, expected glue_tube"):
        evaluate_poses(tmp_path, tmp_path, "glue_tube", tmp_path / "out", 5, "cpu")
