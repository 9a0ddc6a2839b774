import numpy as np
import pytest

from synth.sensor import motion_kernel, through_sensor
from synth.types import Sensor
from tests.synth.conftest import QUIET


def changed(**fields: object) -> Sensor:
    return Sensor(**{**QUIET.__dict__, **fields})  # type: ignore[arg-type]


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_a_quiet_sensor_changes_no_pixel_by_more_than_one_level() -> None:
    assert np.abs(through_sensor(picture(), QUIET, rng()).astype(int) - picture()).max() <= 1


def centroid(image: np.ndarray) -> tuple[float, float]:
    light = (image[:, :, 1] / 255.0) ** 2.2
    y, x = np.mgrid[0 : light.shape[0], 0 : light.shape[1]]
    return float((light * x).sum() / light.sum()), float((light * y).sum() / light.sum())


@pytest.mark.parametrize(
    "sensor",
    [
        changed(blur_sigma_px=1.7),
        changed(motion_px=6.0, motion_angle=0.5),
        changed(motion_px=3.3, motion_angle=2.0),
        changed(motion_px=6.0, motion_angle=0.5, objects_move=True),
        changed(defocus_px=2.3),
        changed(chromatic=0.02),
        changed(vignetting=0.5),
        changed(tone=0.5, contrast=1.2),
    ],
    ids=["blur", "motion", "short motion", "object motion", "defocus", "fringes", "vignetting", "tone"],
)
def test_blur_does_not_move_a_dot(sensor: Sensor) -> None:
    dot = np.zeros((41, 41, 3), dtype=np.uint8)
    dot[18:23, 20:25] = 255
    seen = through_sensor(dot, sensor, rng(), dot[:, :, 0] > 0)
    assert centroid(seen) == pytest.approx((22.0, 20.0), abs=0.05)


def test_motion_kernel_sums_to_one_and_has_its_length() -> None:
    kernel = motion_kernel(5.0, 0.0)
    assert kernel.sum() == pytest.approx(1.0)
    assert (kernel.sum(0) > 0.05).sum() in (5, 6, 7)
    assert (kernel.sum(1) > 0.05).sum() == 1


def test_noise_grows_with_light() -> None:
    dark, light = np.full((64, 64, 3), 60, np.uint8), np.full((64, 64, 3), 200, np.uint8)
    sensor = changed(noise_shot=0.05)
    linear = [((through_sensor(p, sensor, rng()) / 255.0) ** 2.2).std() for p in (dark, light)]
    assert linear[1] > 2 * linear[0] > 0


def test_exposure_meets_its_mean_and_white_balance_tints() -> None:
    gray = np.full((4, 4, 3), 100, np.uint8)
    exposed = through_sensor(gray, changed(mean_light=0.3), rng())
    assert ((exposed / 255.0) ** 2.2).mean() == pytest.approx(0.3, abs=0.01)
    tinted = through_sensor(gray, changed(white_balance=(1.2, 1.0, 0.8)), rng())[0, 0].tolist()
    assert tinted[0] > tinted[1] > tinted[2]


def test_exposure_keeps_the_shading_of_a_white_object_in_the_dark() -> None:
    scene = np.full((60, 60, 3), 20, np.uint8)
    white = np.zeros((60, 60), bool)
    white[20:40, 20:40] = True
    scene[white] = np.linspace(120, 200, white.sum(), dtype=np.uint8)[:, None]
    sensor = changed(mean_light=0.35)
    seen, unaware = (
        through_sensor(scene, sensor, rng(), white)[white],
        through_sensor(scene, sensor, rng())[white],
    )
    assert np.median(unaware) == 255
    assert 240 < seen.max() <= 255
    assert seen.min() < 180


def test_only_what_moves_is_smeared() -> None:
    scene = np.full((40, 60, 3), 40, np.uint8)
    scene[:, ::6] = 200
    scene[15:25, 20:40] = (255, 80, 80)
    moving = np.zeros((40, 60), bool)
    moving[15:25, 20:40] = True
    seen = through_sensor(
        scene, changed(motion_px=6.0, motion_angle=np.pi / 2, objects_move=True), rng(), moving
    )
    assert (np.abs(seen[:10].astype(int) - scene[:10]) <= 1).all()
    edge = seen[14, 21:39].astype(int)
    assert (np.abs(edge - scene[14, 21:39]).max(axis=1) > 20).all()


def test_fringes_part_red_from_blue_away_from_the_centre() -> None:
    dot = np.zeros((41, 201, 3), dtype=np.uint8)
    dot[18:23, 190:195] = 255
    seen = (through_sensor(dot, changed(chromatic=0.01), rng()) / 255.0) ** 2.2
    red, green, blue = ((seen[:, :, c].sum(0) * np.arange(201)).sum() / seen[:, :, c].sum() for c in range(3))
    assert red - green == pytest.approx(0.92, abs=0.1)
    assert green - blue == pytest.approx(0.92, abs=0.1)


def test_corners_lose_the_light_that_vignetting_says() -> None:
    seen = through_sensor(np.full((60, 80, 3), 200, np.uint8), changed(vignetting=0.4), rng())
    light = (seen[:, :, 0] / 255.0) ** 2.2
    assert light[0, 0] / light[30, 40] == pytest.approx(0.6, abs=0.03)


@pytest.mark.parametrize("level", [80, 120, 220])
def test_noise_has_the_deviation_it_says(level: int) -> None:
    flat = np.full((200, 200, 3), level, np.uint8)
    light = (level / 255.0) ** 2.2
    noise = changed(noise_shot=0.02, noise_read=0.004)
    seen = (through_sensor(flat, noise, rng()) / 255.0) ** 2.2
    assert seen.mean() == pytest.approx(light, rel=0.03)
    assert seen.std() == pytest.approx(np.sqrt(0.02**2 * light + 0.004**2), rel=0.12)


def test_noise_differs_from_image_to_image() -> None:
    flat, noise = np.full((64, 64, 3), 128, np.uint8), changed(noise_read=0.02)
    generator = rng()
    assert (through_sensor(flat, noise, generator) != through_sensor(flat, noise, generator)).mean() > 0.5
