"""Scenes and labels as they were: a change here means that old data sets can no longer be topped up.

Rewrite the files with `MESHMARK_UPDATE_GOLDEN=1 make check ARGS=tests/synth/generate/test_golden.py`, look
at the difference, and name the reason in the commit.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from synth.config import SynthConfig
from synth.dataset.log import log_row
from synth.labels import make_labels
from synth.objects.library import Library
from synth.render.protocol import Renderer
from synth.scene.sample import sample_scene

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


@pytest.mark.parametrize("index", [0, 1, 2])
def test_scene_and_labels_are_those_on_file(
    small_config: SynthConfig, box_library: Library, renderer: Renderer, index: int
) -> None:
    scene = sample_scene(small_config, box_library, 0, index)
    row = log_row(scene, make_labels(scene, box_library, renderer.render(scene)))
    path = GOLDEN / f"box_{index}.json"
    if os.environ.get("MESHMARK_UPDATE_GOLDEN"):
        path.write_text(json.dumps(row, indent=1) + "\n")
    assert_close(json.loads(json.dumps(row)), json.loads(path.read_text()), path.name)


def assert_close(found: Any, expected: Any, where: str) -> None:
    """Equal structure; numbers within 1e-6, areas and masks (which drivers round) within 1 %."""
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected.keys() - {"segmentation"}:
            assert_close(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for n, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_close(a, b, f"{where}[{n}]")
    elif isinstance(expected, float):
        loose = where.endswith(("area", "visible_fraction")) or "box_xyxy" in where
        assert found == pytest.approx(expected, rel=0.01 if loose else 1e-6, abs=1e-6), where
    else:
        assert found == expected, where
