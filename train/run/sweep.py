"""The learning curve: how many labelled photos are worth how much, with rendered images and without.

Every cell trains the same number of steps with the same recipe, on the first n photos of one shuffled order
(so that 10 photos hold the 5), and is scored at its last snapshot: nothing is chosen on the photos it is
scored on.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from synth.dataset.coco import Category
from synth.errors import ConfigError, DataError
from synth.system.files import write_text
from synth.system.json_files import read_json
from synth.types import Array
from train.config import TrainConfig, saved_config, with_changes
from train.data.samples import read_samples
from train.detect.predict import Detector
from train.model.snapshot import labels_hash, make_meta
from train.run.batches import TrainData
from train.run.curves import write_learning_curve
from train.run.engine import train
from train.run.sizes import large_enough, n_validated, smallest_share
from train.score.evaluate import detect_all, write_sheets
from train.score.intervals import as_json, interval
from train.score.labels import boxes_as_labelled
from train.score.metrics import evaluate
from train.score.precision import ap_draws
from train.types import Sample, truth_of

RESULT, SCORE = "sweep.json", "score.json"
COUNTS = 0, 5, 10, 25
"""Of labelled photos where none are asked for, as far as there are so many; and all."""


@dataclass(frozen=True)
class Cell:
    """One training run: on `photos` labelled photos, and on rendered images if `synthetic`."""

    photos: int
    synthetic: bool
    seed: int

    @property
    def name(self) -> str:
        return f"photos-{self.photos:04}-{'with' if self.synthetic else 'without'}-seed-{self.seed}"


@dataclass(frozen=True)
class SweepSources:
    """What the cells learn from and are scored on. synthetic, photos, test: folders or COCO files."""

    synthetic: Path
    photos: Path
    test: Path


def cells(counts: Sequence[int], seeds: int) -> list[Cell]:
    """In the order they are run: all of one seed before the next, few photos first."""
    return [
        Cell(n, synthetic, seed)
        for seed in range(seeds)
        for n in sorted(set(counts))
        for synthetic in (True, False)
        if n or synthetic
    ]


def photo_counts(text: str | None, available: int) -> list[int]:
    """`text`: numbers and `all`, separated by commas, such as '0,5,10,all'; None: COUNTS.

    Raises ConfigError.
    """
    if text is None:
        return [*(n for n in COUNTS if n < available), available]
    counts = []
    for word in text.split(","):
        if word.strip() == "all":
            counts.append(available)
        elif word.strip().isdigit() and int(word) <= available:
            counts.append(int(word))
        else:
            raise ConfigError(
                f"--counts: {word.strip()!r}, expected 'all' or a number up to {available}, all there are"
            )
    return counts


def sweep(
    config: TrainConfig,
    category: Category,
    sources: SweepSources,
    counts: str | None,
    seeds: int,
    out: Path,
    device: str,
) -> dict[str, Any]:
    """Runs the cells that `out` does not hold yet; a cell that was cut off goes on where it stood.

    Writes sweep.json, sweep.md, sweep.png, and for each cell its scores and sheets. Returns what sweep.json
    holds. Raises ConfigError for an `out` that holds a sweep of another recipe or other data.
    """
    rendered = read_samples(sources.synthetic, category)
    photos = read_samples(sources.photos, category)
    test = read_samples(sources.test, category)
    if not any((sample.keypoints[~sample.iscrowd][..., 2] > 0).any() for sample in test):
        raise DataError(f"{sources.test}: no {category.name} is labelled in these photos")
    shared = {p.image_path.resolve() for p in photos} & {p.image_path.resolve() for p in test}
    if shared:
        raise ConfigError(f"{min(shared)}: is among the photos to train on and among those to be scored on")
    config = large_enough(config, smallest_share((*rendered, *photos)))
    todo = cells(photo_counts(counts, len(photos)), seeds)
    recipe: dict[str, Any] = {
        "object": category.name,
        "config": config.model_dump(mode="json"),
        "data": {
            name: labels_hash(path)
            for name, path in (
                ("synthetic", sources.synthetic),
                ("photos", sources.photos),
                ("test", sources.test),
            )
        },
    }
    _claim(out, recipe)
    for cell in todo:
        folder = out / cell.name
        if not (folder / SCORE).exists():
            Console(stderr=True, highlight=False).print(f"cell {cell.name}")
            detector = _train_cell(cell, config, category, recipe["data"], rendered, photos, folder, device)
            write_text(folder / SCORE, json.dumps(_score(detector, category, test, folder)))
        result: dict[str, Any] = {**recipe, "rows": summary(out, todo)}
        write_text(out / RESULT, json.dumps(result, indent=1))
        write_text(out / "sweep.md", markdown(result["rows"]))
        write_learning_curve(out / "sweep.png", result["rows"], category.name, len(test))
    return result


def _claim(out: Path, recipe: dict[str, Any]) -> None:
    """Writes the recipe of a new sweep; raises ConfigError if `out` holds a sweep of another."""
    if not (out / RESULT).exists():
        write_text(out / RESULT, json.dumps({**recipe, "rows": []}, indent=1))
        return
    before = read_json(out / RESULT)
    if not isinstance(before, dict) or not isinstance(before.get("config"), dict):
        raise DataError(f"{out / RESULT}: expected what `meshmark sweep` writes")
    before["config"] = saved_config(before["config"], str(out / RESULT)).model_dump(mode="json")
    for key, value in recipe.items():
        if before.get(key) != value:
            raise ConfigError(f"{out}: holds a sweep with another {key}; choose another folder for this one")


def _train_cell(
    cell: Cell,
    config: TrainConfig,
    category: Category,
    hashes: dict[str, str],
    rendered: tuple[Sample, ...],
    photos: tuple[Sample, ...],
    folder: Path,
    device: str,
) -> Detector:
    order = np.random.default_rng(cell.seed).permutation(len(photos))
    real = tuple(photos[i] for i in order[: cell.photos])
    synthetic = rendered if cell.synthetic else ()
    share = None if real and synthetic else float(bool(real))
    config = with_changes(config, {"data": {"real_fraction": share}, "seed": cell.seed}, "sweep")
    smallest = smallest_share((*real, *synthetic))
    meta = make_meta(config, [category], [None], hashes, smallest_share=smallest)
    watched = (real or rendered)[: n_validated(meta, real or rendered)]
    train(meta, TrainData(synthetic, real, watched), folder / "train", device, resume=True)
    return Detector.load(folder / "train" / "last", device)


def _score(detector: Detector, category: Category, test: Sequence[Sample], folder: Path) -> dict[str, Any]:
    founds = detect_all(detector, test, "evaluating")
    truths = [truth_of(sample) for sample in test]
    write_sheets(folder, test, founds, [category])
    draws = ap_draws(truths, founds, [category.schema])
    compared = boxes_as_labelled(test, founds, [category])
    return {**evaluate(truths, compared, [category]), "keypoint_ap_draws": as_json(draws)}


def summary(out: Path, todo: Sequence[Cell]) -> list[dict[str, Any]]:
    """One row per number of photos and kind, over the seeds that are done: means, and intervals of AP."""
    rows: list[dict[str, Any]] = []
    drawn: dict[tuple[int, bool], Array] = {}
    for first in (cell for cell in todo if cell.seed == 0):
        same = [replace(first, seed=cell.seed) for cell in todo if replace(cell, seed=0) == first]
        scores = [read_json(out / c.name / SCORE) for c in same if (out / c.name / SCORE).exists()]
        if not scores:
            continue
        draws = np.mean(np.array([s["keypoint_ap_draws"] for s in scores], np.float64), axis=0)
        shares = [m for s in scores if (m := s["error_share"]["median"]) is not None]
        drawn[first.photos, first.synthetic] = draws
        rows.append(
            {
                "photos": first.photos,
                "synthetic": first.synthetic,
                "seeds": len(scores),
                "keypoint_ap": float(np.mean([s["keypoints"]["ap"] for s in scores])),
                "keypoint_ap_interval": interval(draws),
                "pck_0.05": float(np.mean([s["pck"]["0.05"] for s in scores])),
                "pck_0.05_interval": np.mean(
                    [s["confidence_95"]["pck"]["0.05"] or [0.0, 0.0] for s in scores], axis=0
                ).tolist(),
                "pck_0.10": float(np.mean([s["pck"]["0.10"] for s in scores])),
                "median_share": float(np.mean(shares)) if shares else None,
                "found": float(np.mean([s["n_found"] / s["n_objects"] for s in scores])),
            }
        )
    for row in rows:
        without = drawn.get((row["photos"], False))
        if row["synthetic"] and without is not None:
            row["gain_interval"] = interval(drawn[row["photos"], True] - without)
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table: one line per number of photos, without and with rendered images side by side."""
    lines = [
        "| labelled photos | keypoint AP, photos alone | with rendered images | gain (95 %) "
        "| PCK@0.05, photos alone | with rendered images "
        "| median error, photos alone | with rendered images |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for n in sorted({row["photos"] for row in rows}):
        kind = {row["synthetic"]: row for row in rows if row["photos"] == n}
        gain = kind.get(True, {}).get("gain_interval")
        cells_ = [
            str(n),
            *(_with_interval(kind.get(s), "keypoint_ap") for s in (False, True)),
            f"{gain[0]:+.3f} to {gain[1]:+.3f}" if gain else "",
            *(f"{kind[s]['pck_0.05']:.3f}" if s in kind else "" for s in (False, True)),
            *(_percent(kind[s]["median_share"]) if s in kind else "" for s in (False, True)),
        ]
        lines.append("| " + " | ".join(cells_) + " |")
    return "\n".join(lines) + "\n"


def print_sweep(result: dict[str, Any], console: Console) -> None:
    table = Table(title=f"{result['object']}: labelled photos, with and without rendered images")
    for column in ("photos", "rendered", "keypoint AP (95 %)", "PCK@0.05", "median", "found"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in result["rows"]:
        table.add_row(
            str(row["photos"]),
            "yes" if row["synthetic"] else "no",
            _with_interval(row, "keypoint_ap"),
            f"{row['pck_0.05']:.3f}",
            _percent(row["median_share"]),
            f"{100 * row['found']:.0f} %",
        )
    console.print(table)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _with_interval(row: dict[str, Any] | None, key: str) -> str:
    return "{:.3f} ({:.3f} to {:.3f})".format(row[key], *row[f"{key}_interval"]) if row else ""
