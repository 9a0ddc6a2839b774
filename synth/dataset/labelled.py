"""Labelled images wherever they lie: what every label format reads to and writes from."""

from dataclasses import dataclass
from pathlib import Path

from synth.dataset.coco import KeypointDataset


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
