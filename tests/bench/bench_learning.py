"""Score over minutes: this recipe, the one before crops, and once the stock network, on several objects.

    python -m tests.bench.bench_learning --out FOLDER --minutes 15 \\
        chessboard=runs/chessboard/synth path/to/part=runs/part/synth

Each object is trained by each recipe from the same rendered images, one run after another, until its schedule
ends or its minutes are over; the stock network on the first object alone. Scores are those of the validation
images at every snapshot, minutes those since the run was started, validation included. Leaves scores.csv
and scores.png; runs that FOLDER holds already are not made again.
"""

import argparse
import csv
import io
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from synth.system.files import write_bytes, write_text

RECIPES = {
    "cpu": Path("configs/train/cpu.yaml"),
    "whole pictures": Path("tests/bench/whole_pictures.yaml"),
    "stock network": Path("tests/bench/stock.yaml"),
}
SCORES = ("keypoint_AP", "PCK@0.05", "PCK@0.10")
STARTED = "started"
Row = dict[str, Any]


def train(object_: str, synth: str, recipe: Path, out: Path, minutes: float) -> None:
    """A run of that recipe in `out`, interrupted when its minutes are over."""
    out.mkdir(parents=True)
    write_text(out.parent / f"{out.name}.{STARTED}", str(time.time()))
    command = [str(Path(sys.executable).parent / "meshmark"), "train", "--object", object_, "--synth", synth]
    process = subprocess.Popen([*command, "--preset", str(recipe), "--out", str(out)])
    try:
        process.wait(60 * minutes)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.wait()


def scores(out: Path) -> list[Row]:
    """Minutes since the start and validation scores at every snapshot of a run."""
    started = float((out.parent / f"{out.name}.{STARTED}").read_text())
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    columns = {name: events.Scalars(f"validation/{name}") for name in SCORES}
    return [
        {
            "minutes": round((points[0].wall_time - started) / 60, 2),
            "step": points[0].step,
            **{name: round(point.value, 4) for name, point in zip(columns, points, strict=True)},
        }
        for points in zip(*columns.values(), strict=True)
    ]


def draw(path: Path, table: list[Row]) -> None:
    objects = list(dict.fromkeys(row["object"] for row in table))
    figure = Figure(figsize=(3.6 * len(objects), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, len(objects), squeeze=False)[0], objects, strict=True):
        for i, recipe in enumerate(RECIPES):
            rows = [row for row in table if (row["object"], row["recipe"]) == (name, recipe)]
            if rows:
                minutes = [row["minutes"] for row in rows]
                axes.plot(minutes, [row["PCK@0.10"] for row in rows], color=f"C{i}", marker=".", label=recipe)
                axes.plot(minutes, [row["keypoint_AP"] for row in rows], color=f"C{i}", linestyle=":")
        axes.set_title(f"{name}: PCK@0.10, dotted keypoint AP", fontsize=9)
        axes.set_xlabel("minutes of training")
        axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("objects", nargs="+", metavar="OBJECT=SYNTH")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--recipes", default=",".join(RECIPES))
    chosen = parser.parse_args()
    table: list[Row] = []
    for number, pair in enumerate(chosen.objects):
        object_, synth = pair.split("=")
        name = Path(object_).name
        for recipe in chosen.recipes.split(","):
            if recipe == "stock network" and number:
                continue
            out = chosen.out / f"{name}-{recipe.replace(' ', '-')}"
            if not out.exists():
                train(object_, synth, RECIPES[recipe], out, chosen.minutes)
            table += [{"object": name, "recipe": recipe, **row} for row in scores(out)]
            text = io.StringIO()
            writer = csv.DictWriter(text, table[0])
            writer.writeheader()
            writer.writerows(table)
            write_text(chosen.out / "scores.csv", text.getvalue())
            draw(chosen.out / "scores.png", table)
    print(text.getvalue())


if __name__ == "__main__":
    main()
