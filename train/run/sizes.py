"""What follows from the size of pictures and objects: the network's input, and how many are validated on."""

import logging
import math
from collections.abc import Sequence

import numpy as np

from train.config import TrainConfig, with_changes
from train.detect.predict import InferenceSettings, tiling_for
from train.model.snapshot import Meta
from train.run.clock import VALIDATION_SHARE
from train.runtime import fit_size
from train.types import Sample

log = logging.getLogger(__name__)

SMALL_SHARE = 0.05
SIZE_STEP_PX, LARGEST_PX = 64, 1280
LEAST_VALIDATED = 12
LOOKS_AN_OBJECT = 2
"""Second looks an object of the validation images costs: false finds are looked at too."""
SEEN, DECODED = 0.7, 0.02
"""What a pixel that the network is shown in validation costs, and one of a photo on disk, as shares of what
one costs in a step, which learns from it."""


def smallest_share(samples: Sequence[Sample]) -> float | None:
    """Longer side of the objects' boxes as a share of their picture's, of all but the smallest SMALL_SHARE of
    them; None without objects."""
    shares = [
        (sample.boxes[:, 2:] - sample.boxes[:, :2]).max(axis=1) / max(sample.width, sample.height)
        for sample in samples
        if len(sample.boxes)
    ]
    return float(np.quantile(np.concatenate(shares), SMALL_SHARE)) if shares else None


def large_enough(config: TrainConfig, share: float | None) -> TrainConfig:
    """The config with pictures scaled so that objects of that share of their longer side, see smallest_share,
    have smallest_px. In steps of SIZE_STEP_PX, at most LARGEST_PX: what is smaller then is found in tiles.
    """
    smallest_px = config.model.smallest_px
    if not smallest_px or share is None:
        return config
    wanted = smallest_px / max(share, 1e-6)
    wanted = min(SIZE_STEP_PX * math.ceil(wanted / SIZE_STEP_PX), LARGEST_PX)
    side = max(config.model.long_side_px, wanted)
    return with_changes(config, {"model": {"long_side_px": side}}, "model.smallest_px")


def n_validated(meta: Meta, samples: Sequence[Sample]) -> int:
    """How many of the images to validate on after each epoch: max_validation_images, or fewer where these
    would take more than VALIDATION_SHARE of the time; LEAST_VALIDATED at least.

    No clock decides, so that a run can be repeated: pixels are counted, of what the network is shown.
    """
    model, data = meta.config.model, meta.config.data
    tiling, crop = tiling_for(meta, InferenceSettings()), model.crop_px**2
    inputs = [fit_size(sample.width, sample.height, model.long_side_px) for sample in samples]
    whole = float(np.mean([width * height for width, height in inputs]))
    views = float(np.mean([len(tiling.views(sample.width, sample.height)) for sample in samples]))
    objects = float(np.mean([len(sample.boxes) for sample in samples]))
    photo = float(np.mean([sample.width * sample.height for sample in samples]))
    part = float(np.mean([min(w, data.crops.largest_px) * min(h, data.crops.largest_px) for w, h in inputs]))
    drawn = data.crops.share * crop + (1 - data.crops.share) * part if crop else whole
    an_epoch = meta.config.schedule.steps_per_epoch * data.batch_size * drawn
    an_image = SEEN * (views * whole + LOOKS_AN_OBJECT * objects * crop) + DECODED * photo
    wanted = min(len(samples), data.max_validation_images)
    count = min(wanted, max(LEAST_VALIDATED, int(VALIDATION_SHARE * an_epoch / an_image)))
    if count < wanted:
        log.info(
            "validating on %d of %d images: more would take over %.0f %% of the time (%d steps an epoch)",
            *(count, len(samples), 100 * VALIDATION_SHARE, meta.config.schedule.steps_per_epoch),
        )
    return count
