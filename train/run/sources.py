"""From what the command line names to what the engine needs."""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from synth.dataset.coco import Category, object_category
from synth.errors import ConfigError
from synth.generate.job import RenderJob, make_manifest
from synth.types import Array
from train.config import TrainConfig, with_changes
from train.data.mix import interleaved
from train.data.online import OnlineImages, online_validation
from train.data.samples import hold_out, read_samples
from train.detect.predict import InferenceSettings, tiling_for
from train.model.snapshot import Meta, labels_hash, make_meta, weights_hash
from train.run.batches import TrainData
from train.run.clock import VALIDATION_SHARE
from train.runtime import fit_size
from train.score.labels import labels_in_words
from train.types import Sample

log = logging.getLogger(__name__)

SMALL_SHARE = 0.05
SIZE_STEP_PX, LARGEST_PX = 64, 1280
LEAST_VALIDATED = 12
LOOKS_AN_OBJECT = 2
"""Second looks an object of the validation images costs: false finds are looked at too."""
DECODING = 0.02
"""What a pixel of a photo costs to read from disk, as a share of what one costs in the network."""


@dataclass(frozen=True)
class TrainSources:
    """What a run learns from, as a user names it.

    synthetic, real, validation: folders or COCO files. weights: how often to draw from each rendered set, ()
    to draw all images alike. online: images to render while training, instead of `synthetic`; those to
    validate on go into the folder `online_validation`. init: a snapshot whose weights to start from. object_:
    name or folder of the object where there is one, for labels that need its mesh.
    """

    synthetic: tuple[Path, ...] = ()
    real: Path | None = None
    validation: Path | None = None
    weights: tuple[float, ...] = ()
    online: RenderJob | None = None
    online_validation: Path = Path()
    init: Path | None = None
    object_: str | None = None


def object_categories(names_or_paths: Sequence[str]) -> tuple[list[Category], list[Array]]:
    """object_category of each object; several get the ids 1, 2, 3 … Raises ConfigError for equal names."""
    found = [object_category(name) for name in names_or_paths]
    categories = [category for category, _ in found]
    names = [category.name for category in categories]
    if len(set(names)) < len(names):
        raise ConfigError(f"--object: {', '.join(names)}, expected objects of different names")
    if len(names) > 1:
        categories = [replace(category, id=i) for i, category in enumerate(categories, start=1)]
    return categories, [points for _, points in found]


def load_run(
    config: TrainConfig,
    categories: Sequence[Category],
    keypoints_m: Sequence[Array | None],
    sources: TrainSources,
    fraction_given: bool,
) -> tuple[Meta, TrainData]:
    """Reads all labels: what describes the run, and what it learns from.

    Without validation photos, real photos are held out, or rendered images if there are none (online: images
    of another seed are rendered for it). Unless the share of real images was given, it is 0 without real
    photos and 1 without rendered ones. Raises ConfigError for several objects rendered online, and for an
    object that no image shows.
    """
    folders, real, validation, online = sources.synthetic, sources.real, sources.validation, sources.online
    if online is not None and len(categories) > 1:
        raise ConfigError("--synth online: renders one object, expected folders for several")
    if not folders and online is None and real is None:
        raise ConfigError("nothing to train on: expected --synth, --real or both")
    if not fraction_given:
        only = 0.0 if real is None else 1.0 if not folders and online is None else None
        config = with_changes(config, {"data": {"real_fraction": only}}, "real fraction")
    rendered = [read_samples(path, *categories, object_=sources.object_) for path in folders]
    photos = _read_photos(real, categories, sources.object_) if real is not None else ()
    if validation is not None:
        chosen = _read_photos(validation, categories, sources.object_)
    elif photos and config.data.real_fraction != 0:
        photos, chosen = hold_out(photos, config.data.holdout, config.seed)
    elif online is not None:
        count = config.data.max_validation_images
        chosen = online_validation(online, sources.online_validation, count, categories[0])
    else:
        halves = [hold_out(samples, config.data.holdout, config.seed) for samples in rendered]
        rendered = [kept for kept, _ in halves]
        chosen = tuple(sample for _, held in halves for sample in held)
    images = tuple(sample for part in rendered for sample in part)
    smallest = smallest_share((*images, *photos, *chosen))
    config = large_enough(config, smallest)
    if online is None:
        _check_all_are_there(categories, (*images, *photos))
    hashes = {str(path): labels_hash(path) for path in (*folders, real, validation) if path is not None}
    if online is not None:
        hashes["online"] = sha256(json.dumps(make_manifest(online, online.library())).encode()).hexdigest()
    if sources.init is not None:
        hashes[f"start from {sources.init}"] = weights_hash(sources.init)
    meta = make_meta(config, categories, keypoints_m, hashes, smallest_share=smallest)
    return meta, TrainData(
        images if online is None else OnlineImages(online, categories[0]),
        photos,
        evenly_spread(chosen, n_validated(meta, chosen)),
        weighted_sets([len(part) for part in rendered], sources.weights),
    )


def _read_photos(path: Path, categories: Sequence[Category], object_: str | None) -> tuple[Sample, ...]:
    """read_samples, and says what is odd about the labels."""
    photos = read_samples(path, *categories, object_=object_)
    for sentence in labels_in_words(photos):
        log.warning("%s: %s", path, sentence)
    return photos


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

    No clock decides, so that a run can be repeated: a pixel is taken to cost as much in validation, which
    looks at one picture at a time, as in a step, which learns from it.
    """
    model, data = meta.config.model, meta.config.data
    tiling, crop = tiling_for(meta, InferenceSettings()), model.crop_px**2
    inputs = [fit_size(sample.width, sample.height, model.long_side_px) for sample in samples]
    whole = float(np.mean([width * height for width, height in inputs]))
    views = float(np.mean([len(tiling.views(sample.width, sample.height)) for sample in samples]))
    objects = float(np.mean([len(sample.boxes) for sample in samples]))
    decoded = DECODING * float(np.mean([sample.width * sample.height for sample in samples]))
    drawn = data.crops.share * crop + (1 - data.crops.share) * whole if crop else whole
    an_epoch = meta.config.schedule.steps_per_epoch * data.batch_size * drawn
    an_image = decoded + views * whole + LOOKS_AN_OBJECT * objects * crop
    wanted = min(len(samples), data.max_validation_images)
    count = min(wanted, max(LEAST_VALIDATED, int(VALIDATION_SHARE * an_epoch / an_image)))
    if count < wanted:
        log.info(
            "validating on %d of %d images: more would take over %.0f %% of the time (%d steps an epoch)",
            *(count, len(samples), 100 * VALIDATION_SHARE, meta.config.schedule.steps_per_epoch),
        )
    return count


def evenly_spread(samples: Sequence[Sample], count: int) -> tuple[Sample, ...]:
    """At most `count` of the samples, evenly from the first to the last: some of every set."""
    count = min(count, len(samples))
    return tuple(samples[i * len(samples) // count] for i in range(count))


def _check_all_are_there(categories: Sequence[Category], samples: Sequence[Sample]) -> None:
    shown = {int(label) for sample in samples for label in sample.labels}
    for label, category in enumerate(categories, start=1):
        if label not in shown:
            raise ConfigError(f"--object {category.name}: no training image shows one")


def weighted_sets(sizes: Sequence[int], weights: Sequence[float]) -> tuple[tuple[int, float], ...]:
    """(size, weight) of each rendered set; () without weights.

    Raises ConfigError if their numbers differ, and for weights that cannot be interleaved.
    """
    if not weights:
        return ()
    if len(weights) != len(sizes):
        raise ConfigError(
            f"--synth-weights: {len(weights)} numbers, expected one for each of {len(sizes)} --synth"
        )
    interleaved(tuple(weights))
    return tuple(zip(sizes, weights, strict=True))
