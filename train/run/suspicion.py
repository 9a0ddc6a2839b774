"""What may be wrong with the data of a run that cannot learn."""

from collections.abc import Iterable
from pathlib import Path

from synth.dataset.faults import FAULTS
from synth.dataset.validate import validate_dataset
from synth.errors import UserError

SHOWN = 3


def suspicion(sources: Iterable[str]) -> str:
    """One line that says what `meshmark validate` finds in each COCO source of labels, the worst first.

    sources: files or folders; those that are no COCO data set are passed over.
    """
    notes = []
    for source in sources:
        path = Path(source)
        if not (path / "annotations.json").is_file() and not (path.is_file() and path.suffix == ".json"):
            continue
        try:
            found = [f for f in validate_dataset(path).faults if f.level != "info"]
        except UserError as error:
            notes.append(str(error))
            continue
        worst = sorted(found, key=lambda fault: fault.level != "error")[:SHOWN]
        faults = [f"{f.kind} ({FAULTS[f.kind][1]}) {f.count} times, as in {f.examples[0]}" for f in worst]
        notes.append(f"`meshmark validate {source}` finds {'; '.join(faults) or 'no fault'}")
    return "; ".join(notes) or "`meshmark validate` has no COCO labels of this run to check"
