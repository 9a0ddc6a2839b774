import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from synth.dataset.coco import Category
from synth.errors import ConfigError
from synth.types import KeypointSchema
from train.config import TrainConfig, with_changes
from train.run import sweep as sweep_module
from train.run.sweep import Cell, SweepSources, cells, markdown, photo_counts, sweep
from train.score import precision
from train.score.precision import ap_draws
from train.types import Found, Truth

Maker = Callable[..., Path]
ONE = np.ones(1, dtype=int)


@pytest.fixture
def sources(coco_folder: Maker, photo_folder: Maker) -> SweepSources:
    return SweepSources(
        coco_folder("rendered", n=8, seed=1), photo_folder("photos", n=4), photo_folder("test", n=3, seed=9)
    )


def test_every_number_of_photos_has_its_control_without_rendered_images() -> None:
    assert [(c.photos, c.synthetic, c.seed) for c in cells([0, 5], 2)] == [
        (0, True, 0),
        (5, True, 0),
        (5, False, 0),
        (0, True, 1),
        (5, True, 1),
        (5, False, 1),
    ]


def test_counts_are_numbers_or_all() -> None:
    assert photo_counts("0, 5,all", 89) == [0, 5, 89]
    assert photo_counts(None, 89) == [0, 5, 10, 25, 89]
    assert photo_counts(None, 6) == [0, 5, 6]
    for text in ("90", "-1", "few", ""):
        with pytest.raises(ConfigError, match="up to 89"):
            photo_counts(text, 89)


@pytest.mark.slow
def test_sweep_trains_each_cell_on_nested_photos_and_goes_on_where_it_was_cut_off(
    sources: SweepSources,
    category: Category,
    tiny_config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained: list[tuple[int, int, float]] = []
    photos: list[set[str]] = []
    real_train = sweep_module.train

    def spy(meta, data, *rest, **named):  # type: ignore[no-untyped-def]
        trained.append((len(data.synthetic), len(data.real), meta.config.data.real_fraction))
        photos.append({s.image_path.name for s in data.real})
        if len(trained) == 3:
            raise KeyboardInterrupt
        return real_train(meta, data, *rest, **named)

    monkeypatch.setattr(sweep_module, "train", spy)
    monkeypatch.setattr(precision, "AP_ROUNDS", 20)
    config = with_changes(tiny_config, {"data": {"real_fraction": 0.5}, "schedule": {"max_steps": 2}}, "x")
    out = tmp_path / "sweep"
    with pytest.raises(KeyboardInterrupt):
        sweep(config, category, sources, "0,2,all", 1, out, "cpu")
    result = sweep(config, category, sources, "0,2,all", 1, out, "cpu")
    assert trained == [(8, 0, 0.0), (8, 2, 0.5), (0, 2, 1.0), (0, 2, 1.0), (8, 4, 0.5), (0, 4, 1.0)]
    assert photos[1] == photos[3] < photos[4]
    assert [(r["photos"], r["synthetic"]) for r in result["rows"]] == [
        (0, True),
        (2, True),
        (2, False),
        (4, True),
        (4, False),
    ]
    assert json.loads((out / "sweep.json").read_text()) == result
    assert len((out / "sweep.md").read_text().splitlines()) == 2 + 3
    with Image.open(out / "sweep.png") as picture:
        assert picture.width > 900
    older = json.loads((out / "sweep.json").read_text())
    older["config"]["optim"]["ema_decay"] = 0.0
    (out / "sweep.json").write_text(json.dumps(older))
    assert sweep(config, category, sources, "0,2,all", 1, out, "cpu")["rows"] == result["rows"]
    with pytest.raises(ConfigError, match="another config"):
        sweep(tiny_config, category, sources, "0,2,all", 1, out, "cpu")


def test_photos_that_are_trained_on_are_not_scored_on(
    sources: SweepSources, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="among those to be scored on"):
        sweep(
            tiny_config,
            category,
            SweepSources(sources.synthetic, sources.test, sources.test),
            "0",
            1,
            tmp_path / "x",
            "cpu",
        )


def test_ap_draws_are_the_same_images_for_every_detector() -> None:
    def truth(x: float) -> Truth:
        points = np.array([[[x, 10.0, 2], [x + 30, 10, 2]]])
        return Truth(np.array([[x, 0, x + 30, 20]]), ONE, points, np.array([600.0]), np.zeros(1, bool))

    truths = [truth(float(x)) for x in range(0, 50, 10)]
    right = [Found(t.boxes, np.ones(1), ONE, t.keypoints[..., :2]) for t in truths]
    wrong = [
        Found(t.boxes, np.ones(1), ONE, t.keypoints[..., :2] + (15.0 if i == 2 else 0))
        for i, t in enumerate(truths)
    ]
    schemas = [KeypointSchema(("a", "b"), (), None, (0.05, 0.05))]
    assert (ap_draws(truths, right, schemas) == 1).all()
    one, again = ap_draws(truths, wrong, schemas), ap_draws(truths, wrong, schemas)
    assert (one == again).all()
    assert 0 < one.mean() < 1
    assert one.std() > 0


def test_table_puts_both_kinds_side_by_side() -> None:
    row = {
        "photos": 5,
        "keypoint_ap": 0.5,
        "keypoint_ap_interval": [0.4, 0.6],
        "pck_0.05": 0.7,
        "median_share": 0.0123,
    }
    rows = [
        {**row, "synthetic": True, "keypoint_ap": 0.9, "gain_interval": [0.3, 0.5]},
        {**row, "synthetic": False},
        {**row, "photos": 0, "synthetic": True, "median_share": None},
    ]
    lines = markdown(rows).splitlines()
    assert lines[2] == "| 0 |  | 0.500 (0.400 to 0.600) |  |  | 0.700 |  | - |"
    assert lines[3].startswith("| 5 | 0.500 (0.400 to 0.600) | 0.900 (0.400 to 0.600) | +0.300 to +0.500 |")
    assert lines[3].endswith("| 0.700 | 0.700 | 1.23 % | 1.23 % |")


def test_sweep_from_the_command_line(sources: SweepSources, tiny_config: TrainConfig, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from train.cli import main

    preset = tmp_path / "tiny.yaml"
    preset.write_text(yaml.safe_dump(tiny_config.model_dump(mode="json")))
    arguments = [
        *("sweep", "--object", "glue_tube", "--synth", str(sources.synthetic), "--real", str(sources.photos)),
        *(
            "--test",
            str(sources.test),
            "--counts",
            "9",
            "--preset",
            str(preset),
            "--out",
            str(tmp_path / "o"),
        ),
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "a number up to 4" in result.output or "glue_tube" in result.output


def test_cell_names_sort_by_photos() -> None:
    assert Cell(5, True, 0).name < Cell(10, True, 0).name
