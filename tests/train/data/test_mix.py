from collections import Counter
from typing import Any

import pytest

from synth.errors import ConfigError
from train.data.mix import ENDLESS, MixedBatchSampler, interleaved, real_share


def sampler(
    fraction: float | tuple[float, ...], batch: int = 4, steps: int = 10, **changes: Any
) -> MixedBatchSampler:
    sizes = {"n_synthetic": 50, "n_real": 3, "seed": 1, "start_step": 0, **changes}
    return MixedBatchSampler(batch_size=batch, real_fraction=fraction, end_step=steps, **sizes)


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (0.25, 1), (0.5, 2), (1.0, 4)])
def test_every_batch_holds_the_asked_for_share(fraction: float, expected: int) -> None:
    assert [sum(d.real for d in batch) for batch in sampler(fraction)] == [expected] * 10


@pytest.mark.parametrize(
    ("fraction", "batch", "steps", "total"), [(0.1, 4, 10, 4), (0.2, 4, 5, 4), (0.3, 7, 10, 21)]
)
def test_fractional_share_is_exact_over_batches_and_never_off_by_one(
    fraction: float, batch: int, steps: int, total: int
) -> None:
    for start in range(3):
        counts = [sum(d.real for d in sampler(fraction, batch, 100).batch(start + t)) for t in range(steps)]
        assert sum(counts) == total
        assert max(counts) - min(counts) <= 1


def test_each_image_comes_once_before_any_comes_twice() -> None:
    drawn = [d for batch in sampler(0.5, steps=25) for d in batch]
    synthetic = [d.at for d in drawn if not d.real]
    assert sorted(synthetic) == list(range(50))
    real = [d.at for d in drawn if d.real][:48]
    passes = [tuple(real[i : i + 3]) for i in range(0, 48, 3)]
    assert all(sorted(p) == [0, 1, 2] for p in passes)
    assert len(set(passes)) > 1


def test_position_is_resumed_by_step_alone() -> None:
    whole = list(sampler(0.3, steps=20))
    assert list(sampler(0.3, steps=20, start_step=13)) == whole[13:]


def test_seed_changes_order_and_augmentation() -> None:
    a, b = sampler(0.25).batch(0), sampler(0.25, seed=2).batch(0)
    assert a != b
    assert {d.seed for d in a}.isdisjoint(d.seed for d in b)


def test_augmentation_seeds_do_not_repeat() -> None:
    seeds = Counter(d.seed for batch in sampler(0.25, steps=200) for d in batch)
    assert max(seeds.values()) == 1


def test_ranks_share_one_batch_between_them() -> None:
    whole = sampler(0.5).batch(3)
    parts = [sampler(0.5, rank=r, world_size=2).batch(3) for r in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(whole)
    assert [sum(d.real for d in part) for part in parts] == [1, 1]


@pytest.mark.parametrize(
    ("fraction", "changes", "message"),
    [
        (0.5, {"n_real": 0}, "no real images"),
        (0.5, {"n_synthetic": 0}, "no rendered images"),
        (0.5, {"world_size": 3}, "multiple of 3 processes"),
    ],
)
def test_impossible_mix_is_refused(fraction: float, changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sampler(fraction, **changes)


def test_real_share_may_change_over_the_run_and_is_exact_in_each_stretch() -> None:
    counts = [sum(d.real for d in batch) for batch in sampler((0.0, 0.25, 0.6), steps=30)]
    assert counts[:10] == [0] * 10
    assert counts[10:20] == [1] * 10
    assert sum(counts[20:]) == 24
    assert set(counts[20:]) == {2, 3}
    drawn = [d.at for batch in sampler((0.0, 0.25, 0.6), steps=30) for d in batch if not d.real]
    assert len(set(drawn[:50])) == 50


def test_changing_share_is_resumed_by_step_alone() -> None:
    whole = list(sampler((0.0, 0.3), steps=21))
    for start in (5, 10, 11, 17):
        assert list(sampler((0.0, 0.3), steps=21, start_step=start)) == whole[start:]


def test_weighted_sets_come_by_their_weights_and_each_image_once_a_pass() -> None:
    sets = ((10, 3.0), (4, 1.0))
    drawn = [d.at for b in sampler(0.0, steps=40, n_synthetic=14, sets=sets) for d in b]
    assert [sum(at >= 10 for at in drawn[i : i + 4]) for i in range(0, 160, 4)] == [1] * 40
    second = [at for at in drawn if at >= 10]
    assert all(sorted(second[i : i + 4]) == [10, 11, 12, 13] for i in range(0, 40, 4))
    first = [at for at in drawn if at < 10]
    assert all(sorted(first[i : i + 10]) == list(range(10)) for i in range(0, 120, 10))


@pytest.mark.parametrize(
    ("weights", "order"), [((1.0,), (0,)), ((2.0, 2.0), (0, 1)), ((0.5, 1.5), (1, 0, 1, 1))]
)
def test_weights_are_ratios(weights: tuple[float, ...], order: tuple[int, ...]) -> None:
    got = interleaved(weights)
    assert Counter(got) == Counter(order)


@pytest.mark.parametrize("weights", [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.00001)])
def test_weights_without_sense_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="weights of rendered sets"):
        interleaved(weights)


def test_images_rendered_while_training_never_come_twice() -> None:
    drawn = [d.at for b in sampler(0.25, steps=50, n_synthetic=ENDLESS) for d in b if not d.real]
    assert drawn == list(range(150))


def test_without_a_share_asked_for_many_photos_make_up_more_of_a_batch_than_few() -> None:
    assert [real_share(1000, n) for n in (0, 5, 10, 30, 89)] == [0.0, 0.14, 0.25, 0.5, 0.75]
    assert real_share(0, 5) == 1.0
    assert real_share(ENDLESS, 30) == 0.5


def test_some_images_are_rendered_however_many_photos_there_are() -> None:
    assert real_share(2000, 100_000) < 1
