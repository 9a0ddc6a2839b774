"""Curves of a training run as a picture."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from synth.system.files import write_bytes

Row = dict[str, float]


def write_curves(path: Path, steps: Sequence[Row], epochs: Sequence[Row]) -> None:
    """Losses, learning rate and validation scores over steps, as a PNG written atomically.

    steps: rows with `step`, `lr` and any number of losses. epochs: rows with `step` and scores in [0, 1].
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, rate, scores = figure.subplots(1, 3)
    names = [name for name in (steps[0] if steps else {}) if name not in ("step", "lr")]
    _lines(losses, steps, names, "loss")
    if steps:
        losses.set_yscale("log")
    _lines(rate, steps, ["lr"], "learning rate (heads)")
    _lines(scores, epochs, [name for name in (epochs[0] if epochs else {}) if name != "step"], "validation")
    scores.set_ylim(0, 1.02)
    _write_figure(path, figure)


def _lines(axes: Any, rows: Sequence[Row], names: Sequence[str], title: str) -> None:
    for name in names:
        axes.plot(
            [r["step"] for r in rows],
            [r[name] for r in rows],
            label=name,
            marker="o" if len(rows) < 40 else None,
            markersize=3,
        )
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    if len(names) > 1:
        axes.legend(fontsize=7)


def write_learning_curve(path: Path, rows: Sequence[dict[str, Any]], name: str, n_test: int) -> None:
    """Keypoint AP and PCK@0.05 over the number of labelled photos, with and without rendered images.

    rows: of sweep.summary. Bands are 95 % intervals from resampling the test photos.
    """
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    counts = sorted({row["photos"] for row in rows})
    left, right = figure.subplots(1, 2)
    for axes, title, key in ((left, "keypoint AP", "keypoint_ap"), (right, "PCK@0.05", "pck_0.05")):
        for synthetic, label, color in ((True, "with rendered images", "C0"), (False, "photos alone", "C1")):
            chosen = [row for row in rows if row["synthetic"] == synthetic]
            x = [counts.index(row["photos"]) for row in chosen]
            axes.plot(x, [row[key] for row in chosen], color=color, marker="o", label=label)
            low, high = ([row[f"{key}_interval"][side] for row in chosen] for side in (0, 1))
            axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
        axes.set_xticks(range(len(counts)), [str(n) for n in counts])
        axes.set_xlabel("labelled photos in training")
        axes.set_title(f"{name}: {title} on {n_test} photos")
        least = min(row[f"{key}_interval"][0] for row in rows)
        axes.set_ylim(max(0.0, least - 0.1), 1.01)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    _write_figure(path, figure)


def _write_figure(path: Path, figure: Figure) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())
