"""From one format of labels to another, into a new folder that appears whole or not at all."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from synth.dataset.coco import Category, KeypointDataset
from synth.dataset.formats.table import WRITTEN, read_labels
from synth.dataset.plausible import with_likely_areas
from synth.errors import DataError
from synth.system.files import sync_below, sync_folder


@dataclass(frozen=True)
class Conversion:
    """How many images were written, and how many labels with their box's area in place of one that no object
    has."""

    images: int
    areas: int


def convert(
    source: Path, target: Path, to: str, category: Category | None, object_: str | None
) -> Conversion:
    """Writes the labels at `source` to the new folder `target`.

    to: name of the format. category, object_: what is labelled, where the labels do not say it, or the format
    needs its mesh. Raises DataError when the source cannot be read or has no such category, or the target
    exists.
    """
    if target.exists():
        raise DataError(f"{target} exists already; choose another folder")
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        labelled, areas = with_likely_areas(read_labels(source, (category,) if category else (), object_))
        if category is not None:
            _require(category, labelled.data, source)
        WRITTEN[to](labelled, object_, part)
        sync_below(part)
        part.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        error.filename = error.filename or str(target)  # a full disk names none
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Conversion(len(labelled.data.images), areas)


def _require(category: Category, dataset: KeypointDataset, source: Path) -> None:
    if category.name not in {c.name for c in dataset.categories}:
        came = ", ".join(f"{c.name} (category id {c.id})" for c in dataset.categories)
        raise DataError(f"{source}: holds {came}, expected {category.name} (category id {category.id})")
