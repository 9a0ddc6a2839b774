"""Two evaluations of the same photos side by side, photo by photo."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from synth.errors import DataError
from synth.system.json_files import read_json
from synth.types import Array
from train.score.intervals import BOOTSTRAP_ROUNDS, interval
from train.score.metrics import PCK_THRESHOLDS

MISSED = 1.0
"""Error, as a share of the box, that a keypoint counts which was not found."""
TIE = 0.005
MOST = 1e15
"""What no measure reaches."""
HEADLINES = (
    ("bbox AP", "bbox", "ap"),
    ("keypoint AP", "keypoints", "ap"),
    ("median px", "error_px", "median"),
)


def compare(a: Path, b: Path) -> dict[str, Any]:
    """a, b: eval.json files or the folders they lie in. Differences are b - a.

    A photo is won by the evaluation with the smaller mean error, by more than TIE of the box's longer side;
    intervals and p (two-sided) come from resampling photos, the same ones on both sides. Raises DataError for
    evaluations of other photos.
    """
    one, other = _read(a), _read(b)
    errors_a, errors_b = _errors(one, a), _errors(other, b)
    if errors_a.keys() != errors_b.keys():
        odd = sorted(errors_a.keys() ^ errors_b.keys())
        raise DataError(f"{a} and {b} are of other photos: {len(odd)} are in one only, such as {odd[0]}")
    names = sorted(errors_a)
    for name in names:
        if len(errors_a[name]) != len(errors_b[name]):
            raise DataError(f"{a} and {b} count other keypoints in {name}: were the labels changed?")
    means = np.array([[_mean(e[name]) for e in (errors_a, errors_b)] for name in names])
    gain = means[:, 0] - means[:, 1]
    return {
        "a": str(a),
        "b": str(b),
        "n_images": len(names),
        "headlines": {
            label: {"a": one[group][key], "b": other[group][key]} for label, group, key in HEADLINES
        },
        "keypoint_ap_interval": _ap_interval(one, other),
        "pck": {f"{t:.2f}": _difference(*_within(t, errors_a, errors_b, names)) for t in PCK_THRESHOLDS},
        "mean_error": _difference([errors_a[n] for n in names], [errors_b[n] for n in names]),
        "won_by_a": int((gain < -TIE).sum()),
        "won_by_b": int((gain > TIE).sum()),
        "ties": int((np.abs(gain) <= TIE).sum()),
        "photos": [
            {"file": names[i], "a": float(means[i, 0]), "b": float(means[i, 1])} for i in np.argsort(gain)
        ],
    }


def print_comparison(result: dict[str, Any], console: Console) -> None:
    table = Table(title=escape(f"A {result['a']}, B {result['b']}: {result['n_images']} photos"))
    for column in ("", "A", "B", "B - A", "95 %", "p"):
        table.add_column(column, justify="left" if column == "" else "right")
    for label, row in result["headlines"].items():
        known = result["keypoint_ap_interval"] if label == "keypoint AP" else None
        middle = (f"{row['b'] - row['a']:+.3f}", _interval(known)) if known else ("", "")
        table.add_row(label, _number(row["a"]), _number(row["b"]), *middle, "")
    rows = {f"PCK@{t}": row for t, row in result["pck"].items()} | {"mean error": result["mean_error"]}
    for label, row in rows.items():
        table.add_row(
            label,
            _number(row["a"]),
            _number(row["b"]),
            f"{row['difference']:+.3f}",
            _interval(row["interval"]),
            f"{row['p']:.3f}",
        )
    console.print(table)
    console.print(f"better on a photo: A {result['won_by_a']}, B {result['won_by_b']}, tie {result['ties']}")


def _ap_interval(a: dict[str, Any], b: dict[str, Any]) -> list[float] | None:
    """95 % interval of the difference of keypoint AP; None unless both were measured on the same draws."""
    same = [row["file"] for row in a["per_image"]] == [row["file"] for row in b["per_image"]]
    draws = [np.array(one.get("keypoint_ap_draws", []), np.float64) for one in (a, b)]
    return interval(draws[1] - draws[0]) if same and len(draws[0]) == len(draws[1]) else None


def _interval(limits: list[float]) -> str:
    return f"{limits[0]:+.3f} to {limits[1]:+.3f}"


def _read(path: Path) -> dict[str, Any]:
    file = path / "eval.json" if path.is_dir() else path
    raw: dict[str, Any] = read_json(file)
    try:
        known = [raw["per_image"], *(raw[group][key] for _, group, key in HEADLINES)]
    except (KeyError, TypeError) as error:
        raise DataError(f"{file}: expected what `meshmark eval` writes, it lacks {error}") from error
    if not isinstance(known[0], list) or not all(map(_is_score, known[1:])):
        raise DataError(f"{file}: expected what `meshmark eval` writes, its fields are of other types")
    draws = raw.get("keypoint_ap_draws", [])
    if not isinstance(draws, list) or not all(map(_is_score, draws)) or None in draws:
        raise DataError(f"{file}: keypoint_ap_draws: {draws!r:.60}, expected a list of numbers")
    if not known[0]:
        raise DataError(f"{file}: per_image is empty, expected photos to compare")
    return raw


def _is_score(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and abs(value) < MOST)


def _errors(result: dict[str, Any], where: Path) -> dict[str, Array]:
    """File -> (R,) errors of its labelled keypoints."""
    try:
        rows = {
            str(row["file"]): np.array(
                [MISSED if e is None else min(float(e), MISSED) for e in row["errors"]]
            )
            for row in result["per_image"]
        }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: per_image is malformed: {error!r}") from error
    if len(rows) != len(result["per_image"]):
        raise DataError(f"{where}: two photos carry the same name")
    return rows


def _within(
    threshold: float, a: dict[str, Array], b: dict[str, Array], names: list[str]
) -> tuple[list[Array], list[Array]]:
    """Per photo and side, 1 for keypoints nearer than the threshold, else 0."""
    one, other = ([(e[n] <= threshold).astype(np.float64) for n in names] for e in (a, b))
    return one, other


def _mean(errors: Array) -> float:
    return float(errors.mean()) if len(errors) else 0.0


def _difference(a: list[Array], b: list[Array]) -> dict[str, Any]:
    """Means over all keypoints, their difference, its 95 % interval and p, from resampling photos."""
    counts = np.array([len(x) for x in a], dtype=np.float64)
    sums = np.array([[x.sum(), y.sum()] for x, y in zip(a, b, strict=True)], dtype=np.float64)
    rng = np.random.default_rng(0)
    draws = rng.integers(len(a), size=(BOOTSTRAP_ROUNDS, len(a)))
    total = np.maximum(counts[draws].sum(axis=1), 1.0)
    differences = (sums[draws, 1].sum(axis=1) - sums[draws, 0].sum(axis=1)) / total
    low, high = np.percentile(differences, [2.5, 97.5])
    means = sums.sum(axis=0) / max(float(counts.sum()), 1.0)
    beyond = min(float((differences <= 0).mean()), float((differences >= 0).mean()))
    return {
        "a": float(means[0]),
        "b": float(means[1]),
        "difference": float(means[1] - means[0]),
        "interval": [float(low), float(high)],
        "p": min(1.0, 2 * beyond),
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"
