"""The label formats. Whatever reads or writes labels finds them here.

A further format is a file beside this one and a line in FORMATS.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from synth.dataset.coco import Category
from synth.dataset.formats import bop, coco, datumaro, label_studio, labelme, shapes, yolo_pose
from synth.dataset.labelled import LabelledImages
from synth.dataset.plausible import require_plausible
from synth.errors import DataError


@dataclass(frozen=True)
class LabelFormat:
    """finds: whether the labels at a path, which may be absent, are of this format. files: those the labels
    there come from.

    read(path, asked, object_): asked are the categories wanted, any number of them or none, for labels that
    do not name theirs; object_ is the name or folder of the object, None = not said, for labels that need its
    mesh. Raises DataError naming file and place.
    write(labelled, object_, target): into the folder `target`, which is there; None: the format is read only.
    """

    name: str
    finds: Callable[[Path], bool]
    files: Callable[[Path], list[Path]]
    read: Callable[[Path, Sequence[Category], str | None], LabelledImages]
    write: Callable[[LabelledImages, str | None, Path], None] | None = None


FORMATS = (
    LabelFormat("coco", coco.finds, coco.files, coco.read, coco.write),
    LabelFormat("yolo-pose", yolo_pose.finds, yolo_pose.files, yolo_pose.read, yolo_pose.write),
    LabelFormat("bop", bop.finds, bop.files, bop.read, bop.write),
    LabelFormat("label-studio", label_studio.finds, label_studio.files, label_studio.read),
    LabelFormat("labelme", labelme.finds, labelme.files, labelme.read),
    LabelFormat("datumaro", datumaro.finds, datumaro.files, datumaro.read),
    LabelFormat("shapes", shapes.finds, shapes.files, shapes.read, shapes.write),
)
"""In the order in which they are looked for: COCO's is every single file that is none of
another tool's, one JSON a photo is what every other folder may hold."""
WRITTEN = {label_format.name: label_format.write for label_format in FORMATS if label_format.write}
"""Format -> what writes it."""


def find_format(path: Path) -> LabelFormat:
    """The format of the labels at `path`, a file or a folder. Raises DataError when there is neither."""
    if path.exists():
        for label_format in FORMATS:
            if label_format.finds(path):
                return label_format
    raise DataError(f"{path}: no such file or folder, expected a COCO file or labelled images")


def read_labels(path: Path, asked: Sequence[Category] = (), object_: str | None = None) -> LabelledImages:
    """The labels at `path`, whichever format they are in; for the arguments see LabelFormat. Raises DataError
    also for labels that cannot be meant, see require_plausible."""
    return require_plausible(find_format(path).read(path, asked, object_))


def label_files(path: Path) -> list[Path]:
    """The files that read_labels(path) takes the labels from."""
    return find_format(path).files(path)
