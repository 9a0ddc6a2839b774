"""Settings of the randomizers: what is wrong in a file is named."""

from pathlib import Path

import pytest

from synth.config import load_synth_config
from synth.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("camera: {fov_deg: [70, 20]}", "camera.fov_deg: expected low <= high, got [70.0, 20.0]"),
        ("objects: {count: [3, 1]}", "objects.count: expected low <= high, got [3, 1]"),
        ("camera: {fog: 1}", "camera.fog: Extra inputs"),
        ("sensor: {noise_read: [0, .inf]}", "sensor.noise_read"),
        ("camera: !!int abc", "not valid YAML: invalid literal"),
        ("camera: !!timestamp abc", "not valid YAML"),
        ("camera: " + "[" * 5000, "not valid YAML: maximum recursion depth"),
        ("camera: &a {roll_deg: [0, 0]}\nlight: *a", "aliases (*name) are not supported"),
        ("camera: {fov_deg: [0, 60]}", "camera.fov_deg: expected values from 1 to 170, got [0.0, 60.0]"),
        ("sensor: {jpeg_quality: [60, 101]}", "sensor.jpeg_quality: expected values from 1 to 100"),
        ("light: {ambient: [-1, 0]}", "light.ambient: expected values from 0 to 100"),
        (
            "camera: {calibration: {width_px: 640, height_px: 480, matrix: [0, 500, 320, 240]}}",
            "camera.calibration.matrix.0: Input should be greater than 0 (got 0)",
        ),
    ],
)
def test_wrong_field_is_named_with_what_was_expected(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "synth.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_synth_config(str(path))
    assert str(raised.value).startswith(str(path))
    assert expected in str(raised.value)
