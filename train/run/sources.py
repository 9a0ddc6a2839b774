"""From what the command line names to what the engine needs."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from synth.dataset.coco import Category, object_category
from synth.errors import ConfigError
from synth.generate.job import RenderJob, make_manifest
from synth.types import Array
from train.config import TrainConfig, with_changes
from train.data.mix import interleaved
from train.data.online import OnlineImages, online_validation
from train.data.samples import hold_out, read_samples
from train.model.snapshot import Meta, labels_hash, make_meta, weights_hash
from train.run.batches import TrainData
from train.run.sizes import large_enough, n_validated, smallest_share
from train.score.labels import labels_in_words
from train.types import Sample

log = logging.getLogger(__name__)


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
    smallest = smallest_share((*images, *photos) if online is None else chosen)
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
