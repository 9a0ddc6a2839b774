from collections import Counter

import pytest

from synth.errors import ConfigError
from train.mix import MixedBatchSampler


def sampler(fraction: float, batch: int = 4, steps: int = 10, **changes: int) -> MixedBatchSampler:
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
