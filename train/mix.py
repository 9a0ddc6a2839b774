"""Which images make up each batch: a pure function of seed and step, so a run resumes from its step alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import floor
from typing import NamedTuple

import numpy as np

from synth.errors import ConfigError

SYNTHETIC, REAL = 0, 1


class Draw(NamedTuple):
    """One image of a batch: its place among the real or the synthetic images, and the augmentation's seed."""

    real: bool
    at: int
    seed: int


@dataclass(frozen=True)
class MixedBatchSampler:
    """Batches that hold exactly the asked-for share of real images.

    With batch_size * real_fraction a whole number, every batch holds that many real images. Otherwise batch
    t holds floor((t + 1) b f) - floor(t b f) of them: always one of the two neighbours, and after every T
    batches for which T b f is whole (10 batches of 4 at 0.1) the share is exact.

    Either kind of image is drawn in reshuffled passes: all once before any twice. Process `rank` of
    `world_size` gets every world_size-th image of the batch, so all ranks together make up one batch.
    """

    n_synthetic: int
    n_real: int
    batch_size: int
    real_fraction: float
    seed: int
    start_step: int
    end_step: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.world_size:
            raise ConfigError(
                f"data.batch_size is {self.batch_size}, expected a multiple of {self.world_size} processes"
            )
        if self.real_fraction > 0 and self.n_real == 0:
            raise ConfigError(f"data.real_fraction is {self.real_fraction:g} but there are no real images")
        if self.real_fraction < 1 and self.n_synthetic == 0:
            raise ConfigError(
                f"data.real_fraction is {self.real_fraction:g} but there are no rendered images"
            )

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
        drawn += [(False, self._pick(SYNTHETIC, self.n_synthetic, at)) for at in range(start, end)]
        seeds = np.random.SeedSequence([self.seed, step]).generate_state(self.batch_size)
        batch = [Draw(real, index, int(s)) for (real, index), s in zip(drawn, seeds, strict=True)]
        return batch[self.rank :: self.world_size]

    def _reals_before(self, step: int) -> int:
        return floor(step * self.batch_size * Fraction(str(self.real_fraction)))

    def _pick(self, kind: int, count: int, position: int) -> int:
        return int(_shuffled(self.seed, kind, count, position // count)[position % count])


@lru_cache(maxsize=4)
def _shuffled(seed: int, kind: int, count: int, turn: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng([seed, kind, turn]).permutation(count)
