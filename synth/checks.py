"""Checks of what types hold, made when they are built: an error names the field, what came and what was
expected. They look at shapes and kinds of numbers, and at values only where there are few."""

import math
from typing import Any

import numpy as np

KINDS = {"floating": "f", "integer": "iu"}


def check_arrays(owner: Any, kind: str, finite: bool = False, **shapes: tuple[int | None, ...]) -> None:
    """Raises ValueError unless the owner's fields named in `shapes` are arrays of these shapes, or None.

    kind: of their numbers: the name of a NumPy type such as 'uint8', or 'floating', 'integer'. finite: all
    numbers are. In a shape None stands for any length.
    """
    for name, shape in shapes.items():
        value, field = getattr(owner, name), f"{type(owner).__name__}.{name}"
        if value is None:
            continue
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{field}: {type(value).__name__}, expected an array")
        if value.ndim != len(shape) or any(
            n not in (None, m) for n, m in zip(shape, value.shape, strict=True)
        ):
            expected = ", ".join("any" if n is None else str(n) for n in shape)
            raise ValueError(f"{field}: shape {value.shape}, expected ({expected})")
        if value.dtype.kind not in KINDS[kind] if kind in KINDS else value.dtype != kind:
            raise ValueError(f"{field}: {value.dtype} numbers, expected {kind}")
        if finite and not np.isfinite(value).all():
            raise ValueError(f"{field}: {value.ravel().tolist()!r:.80}, expected finite numbers")


def check_numbers(owner: Any, **counts: int | None) -> None:
    """Raises ValueError unless the owner's fields named in `counts` hold so many finite numbers.

    0: the field is a number itself; None: any number of them.
    """
    for name, count in counts.items():
        value = getattr(owner, name)
        numbers = (value,) if count == 0 else tuple(value)
        if (count and len(numbers) != count) or not all(map(math.isfinite, numbers)):
            expected = "a finite number" if count == 0 else f"{count or ''} finite numbers".strip()
            raise ValueError(f"{type(owner).__name__}.{name}: {value!r:.80}, expected {expected}")


def check_one_of(owner: Any, name: str, known: tuple[str, ...]) -> None:
    """Raises ValueError unless the owner's field is one of the words."""
    value = getattr(owner, name)
    if value not in known:
        expected = " or ".join(map(repr, known))
        raise ValueError(f"{type(owner).__name__}.{name}: {value!r:.60}, expected {expected}")
