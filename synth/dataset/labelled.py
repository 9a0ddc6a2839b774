"""Labelled images wherever they lie: what every label format reads to and writes from."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from synth.dataset.coco import Category, KeypointDataset
from synth.dataset.coco_exports import placeholder_names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledImages:
    """paths: of the images' files, in the order of data.images; synth.system.shards.open_file opens them.

    source: the label file, or the folder that holds one a photo.
    """

    data: KeypointDataset
    paths: tuple[Path, ...]
    source: Path

    @property
    def folder(self) -> Path:
        return self.source if self.source.is_dir() else self.source.parent


def named_as(data: KeypointDataset, asked: Sequence[Category], where: str) -> KeypointDataset:
    """`data` with the names of the object's keypoints where the labels give none (placeholder_names): of the
    category asked for that has the same name or, where there is one of each, is the only one."""
    by_name = {category.name: category for category in asked}
    alone = len(asked) == len(data.categories) == 1
    categories = []
    for category in data.categories:
        names = category.schema.names
        wanted = asked[0] if alone else by_name.get(category.name)
        if wanted and names == placeholder_names(len(wanted.schema)) != wanted.schema.names:
            log.warning("%s: %r names no keypoints: taken as those of %s", where, category.name, wanted.name)
            category = replace(category, schema=replace(category.schema, names=wanted.schema.names))
        categories.append(category)
    return replace(data, categories=tuple(categories))
