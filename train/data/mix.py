"""Which images make up each batch: a pure function of seed and step, so a run resumes from its step alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import floor, gcd, lcm
from typing import NamedTuple

import numpy as np

from synth.errors import ConfigError

SYNTHETIC, REAL, FURTHER_SETS = 0, 1, 2
ENDLESS = 2**62
"""Number of rendered images where every one is rendered when it is drawn, and none comes twice."""
MAX_PERIOD = 10_000
EVEN_AT = 30
"""Photos that make up half of every batch beside rendered images."""
MOST_REAL = 0.99


def real_share(n_synthetic: int, n_real: int) -> float:
    """Share of real images in a batch where none is asked for: the more there are, the more they teach.

    n / (n + EVEN_AT): a seventh with 5 photos, a quarter with 10, three quarters with 90.
    """
    if not n_real or not n_synthetic:
        return float(n_real > 0)
    return min(round(n_real / (n_real + EVEN_AT), 2), MOST_REAL)


class Draw(NamedTuple):
    """One image of a batch: its place among the real or the synthetic images, and the augmentation's seed."""

    real: bool
    at: int
    seed: int


@dataclass(frozen=True)
class MixedBatchSampler:
    """Batches that hold exactly the asked-for share of real images.

    real_fraction: one share f, or one for each of so many equal stretches of the run. With batch_size b and
    b f a whole number, every batch holds that many real images. Otherwise batch t of a stretch holds
    floor((t + 1) b f) - floor(t b f) of them: always one of the two neighbours, and after every T batches for
    which T b f is whole (10 batches of 4 at 0.1) the share is exact.

    sets: (size, weight) of the parts that make up the n_synthetic rendered images, in order; by default all
    images come equally often. Their shares are exact after so many images as the weights add up to, as whole
    numbers (3 : 1 after every 4).

    Either kind of image, and each set, is drawn in reshuffled passes: all once before any twice. Process
    `rank` of `world_size` gets every world_size-th image of the batch, so all ranks together make up one
    batch.
    """

    n_synthetic: int
    n_real: int
    batch_size: int
    real_fraction: float | tuple[float, ...]
    seed: int
    start_step: int
    end_step: int
    rank: int = 0
    world_size: int = 1
    sets: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        if self.batch_size % self.world_size:
            raise ConfigError(
                f"data.batch_size is {self.batch_size}, expected a multiple of {self.world_size} processes"
            )
        if max(self._shares) > 0 and self.n_real == 0:
            raise ConfigError(f"data.real_fraction is {self.real_fraction} but there are no real images")
        if min(self._shares) < 1 and self.n_synthetic == 0:
            raise ConfigError(f"data.real_fraction is {self.real_fraction} but there are no rendered images")

    def __len__(self) -> int:
        return self.end_step - self.start_step

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in range(self.start_step, self.end_step):
            yield self.batch(step)

    def batch(self, step: int) -> list[Draw]:
        """This rank's images of batch `step`, counted from the run's beginning."""
        real_start, real_end = self._reals_before(step), self._reals_before(step + 1)
        start = step * self.batch_size - real_start
        end = (step + 1) * self.batch_size - real_end
        drawn = [(True, self._pick(REAL, self.n_real, at)) for at in range(real_start, real_end)]
        drawn += [(False, self._pick_synthetic(at)) for at in range(start, end)]
        seeds = np.random.SeedSequence([self.seed, step]).generate_state(self.batch_size)
        batch = [Draw(real, index, int(s)) for (real, index), s in zip(drawn, seeds, strict=True)]
        return batch[self.rank :: self.world_size]

    @property
    def _shares(self) -> tuple[float, ...]:
        return self.real_fraction if isinstance(self.real_fraction, tuple) else (self.real_fraction,)

    def _reals_before(self, step: int) -> int:
        count = 0
        for i, share in enumerate(self._shares):
            first, behind = (self.end_step * n // len(self._shares) for n in (i, i + 1))
            inside = min(max(step - first, 0), behind - first)
            count += floor(inside * self.batch_size * Fraction(str(share)))
        return count

    def _pick_synthetic(self, position: int) -> int:
        if self.n_synthetic >= ENDLESS:
            return position
        if not self.sets:
            return self._pick(SYNTHETIC, self.n_synthetic, position)
        order = interleaved(tuple(weight for _, weight in self.sets))
        turn, at = divmod(position, len(order))
        chosen = order[at]
        rank = turn * order.count(chosen) + order[:at].count(chosen)
        offset = sum(size for size, _ in self.sets[:chosen])
        return offset + self._pick(FURTHER_SETS + chosen, self.sets[chosen][0], rank)

    def _pick(self, kind: int, count: int, position: int) -> int:
        return int(_shuffled(self.seed, kind, count, position // count)[position % count])


@lru_cache(maxsize=16)
def interleaved(weights: tuple[float, ...]) -> tuple[int, ...]:
    """Which set each image of one period comes from: as often as its weight says, and spread evenly."""
    exact = [Fraction(str(weight)) for weight in weights]
    if min(exact) <= 0:
        raise ConfigError(f"weights of rendered sets are {list(weights)}, expected numbers above 0")
    whole = [int(w * lcm(*(w.denominator for w in exact))) for w in exact]
    whole = [w // gcd(*whole) for w in whole]
    period = sum(whole)
    if period > MAX_PERIOD:
        raise ConfigError(f"weights of rendered sets are {list(weights)}, expected simpler ratios")
    used = [0] * len(whole)
    order = []
    for n in range(1, period + 1):
        chosen = max(range(len(whole)), key=lambda i: whole[i] * n - used[i] * period)
        used[chosen] += 1
        order.append(chosen)
    return tuple(order)


@lru_cache(maxsize=16)
def _shuffled(seed: int, kind: int, count: int, turn: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng([seed, kind, turn]).permutation(count)
