"""Curves of a training run as a picture."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from synth.files import write_bytes

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
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())


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
