import json
from collections.abc import Callable
from pathlib import Path

from train.run.suspicion import suspicion

Maker = Callable[..., Path]


def test_failing_check_is_named_with_where_it_fails(coco_folder: Maker) -> None:
    folder = coco_folder(n=4)
    raw = json.loads((folder / "annotations.json").read_text())
    for annotation in raw["annotations"]:
        annotation["keypoints"] = [
            x + 500 if i % 3 == 0 else x for i, x in enumerate(annotation["keypoints"])
        ]
    (folder / "annotations.json").write_text(json.dumps(raw))
    text = suspicion({str(folder): "hash", "online": "hash"})
    assert text.startswith(f"`meshmark validate {folder}` finds boxes (")
    assert "; no_loss (has labelled keypoints, but none inside" in text
    assert "as in annotation 1" in text
    assert "\n" not in text


def test_sound_data_is_said_to_be_sound(coco_folder: Maker) -> None:
    folder = coco_folder(n=2)
    assert suspicion([str(folder / "annotations.json")]).endswith("finds no fault")


def test_other_sources_are_passed_over(photo_folder: Maker, tmp_path: Path) -> None:
    assert "no COCO labels" in suspicion([str(photo_folder()), "online", str(tmp_path / "gone")])
