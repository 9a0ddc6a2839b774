"""From what the command line names to what the engine needs."""

from collections.abc import Sequence
from pathlib import Path

from synth.assets import load_schema
from synth.coco import Category
from synth.errors import ConfigError
from synth.types import Array
from train.checkpoint import Meta, describe, labels_hash
from train.config import TrainConfig, with_changes
from train.datasets import hold_out, read_samples
from train.engine import TrainData


def object_category(name_or_path: str) -> tuple[Category, Array]:
    """The object's category and its keypoints_m (K, 3) in the object frame, from object.yaml."""
    name, category_id, schema, keypoints_m = load_schema(name_or_path)
    return Category(category_id, name, schema), keypoints_m


def load_run(
    config: TrainConfig,
    category: Category,
    keypoints_m: Array | None,
    synthetic: Sequence[Path],
    real: Path | None,
    validation: Path | None,
    fraction_given: bool,
) -> tuple[TrainConfig, TrainData, Meta]:
    """Reads all labels. Without `validation`, real photos are held out, or rendered images if there are none.

    Unless the share of real images was given, it is 0 without real photos and 1 without rendered ones.
    """
    if not synthetic and real is None:
        raise ConfigError("nothing to train on: expected --synth, --real or both")
    if not fraction_given:
        only = 0.0 if real is None else 1.0 if not synthetic else None
        config = with_changes(config, {"data": {"real_fraction": only}}, "real fraction")
    rendered = tuple(sample for path in synthetic for sample in read_samples(path, category))
    photos = read_samples(real, category) if real is not None else ()
    if validation is not None:
        chosen = read_samples(validation, category)
    elif photos and config.data.real_fraction > 0:
        photos, chosen = hold_out(photos, config.data.holdout, config.seed)
    else:
        rendered, chosen = hold_out(rendered, config.data.holdout, config.seed)
    sources = [*synthetic, *([real] if real else []), *([validation] if validation else [])]
    meta = describe(config, category, keypoints_m, {str(path): labels_hash(path) for path in sources})
    return config, TrainData(rendered, photos, chosen[: config.data.max_validation_images]), meta
