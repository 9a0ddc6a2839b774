"""Settings of the randomizers: what is wrong in a file is named."""

from pathlib import Path

import pytest

from synth.config import load_config
from synth.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("camera: {fov_deg: [70, 20]}", "camera.fov_deg: expected low <= high, got [70.0, 20.0]"),
        ("objects: {count: [3, 1]}", "objects.count: expected low <= high, got [3, 1]"),
        ("camera: {fog: 1}", "camera.fog: Extra inputs"),
        ("sensor: {noise_read: [0, .inf]}", "sensor.noise_read"),
    ],
)
def test_wrong_field_is_named_with_what_was_expected(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "synth.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_config(str(path))
    assert str(raised.value).startswith(str(path))
    assert expected in str(raised.value)
