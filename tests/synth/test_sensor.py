import numpy as np
import pytest

from synth.sensor import apply, motion_kernel
from synth.types import Sensor
from tests.synth.conftest import QUIET


def changed(**fields: object) -> Sensor:
    return Sensor(**{**QUIET.__dict__, **fields})  # type: ignore[arg-type]


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_a_quiet_sensor_changes_no_pixel_by_more_than_one_level() -> None:
    assert np.abs(apply(picture(), QUIET, rng()).astype(int) - picture()).max() <= 1


def centroid(image: np.ndarray) -> tuple[float, float]:
    light = (image[:, :, 0] / 255.0) ** 2.2
    y, x = np.mgrid[0 : light.shape[0], 0 : light.shape[1]]
    return float((light * x).sum() / light.sum()), float((light * y).sum() / light.sum())


@pytest.mark.parametrize(
    "sensor",
    [
        changed(blur_sigma_px=1.7),
        changed(motion_px=6.0, motion_angle=0.5),
        changed(motion_px=3.3, motion_angle=2.0),
    ],
    ids=["blur", "motion", "short motion"],
)
def test_blur_does_not_move_a_dot(sensor: Sensor) -> None:
    dot = np.zeros((41, 41, 3), dtype=np.uint8)
    dot[18:23, 20:25] = 255
    assert centroid(apply(dot, sensor, rng())) == pytest.approx((22.0, 20.0), abs=0.05)


def test_motion_kernel_sums_to_one_and_has_its_length() -> None:
    kernel = motion_kernel(5.0, 0.0)
    assert kernel.sum() == pytest.approx(1.0)
    assert (kernel.sum(0) > 0.05).sum() in (5, 6, 7)
    assert (kernel.sum(1) > 0.05).sum() == 1


def test_noise_grows_with_light() -> None:
    dark, light = np.full((64, 64, 3), 60, np.uint8), np.full((64, 64, 3), 200, np.uint8)
    sensor = changed(noise_shot=0.05)
    linear = [((apply(p, sensor, rng()) / 255.0) ** 2.2).std() for p in (dark, light)]
    assert linear[1] > 2 * linear[0] > 0


def test_exposure_meets_its_mean_and_white_balance_tints() -> None:
    gray = np.full((4, 4, 3), 100, np.uint8)
    exposed = apply(gray, changed(mean_light=0.3), rng())
    assert ((exposed / 255.0) ** 2.2).mean() == pytest.approx(0.3, abs=0.01)
    tinted = apply(gray, changed(white_balance=(1.2, 1.0, 0.8)), rng())[0, 0].tolist()
    assert tinted[0] > tinted[1] > tinted[2]
