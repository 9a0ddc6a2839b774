"""One HTML page about an evaluation, self-contained: no script, no network, nothing beside it."""

import io
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from synth.dataset.coco import Category
from synth.system.files import write_text
from synth.types import VISIBLE, Array
from train.model.snapshot import Meta
from train.score.claims import RIGHT_WITHIN
from train.score.matching import Errors, keypoint_errors
from train.score.metrics import pck
from train.score.outcomes import SHOWN_SCORE
from train.score.reliability import Reliability
from train.score.worst import worst_objects
from train.types import Found, Sample, truth_of

CURVE_TO = 0.2
FIND_COLUMNS = (
    ("labelled", "objects"),
    ("missed", "missed"),
    ("false finds", "false_finds"),
    ("found twice", "twice"),
    ("box too large", "large_boxes"),
    ("keypoints", "keypoints"),
    ("with a wrong name", "wrong_name"),
)
SIZE_EDGES_PX = (0.0, 96.0, 192.0, 384.0, float("inf"))
BeforeAndAfter = tuple[Reliability, Reliability]
INK, ACCENT = "#5b6875", "#1f6feb"


def write_report(
    path: Path,
    result: dict[str, Any],
    samples: Sequence[Sample],
    founds: Sequence[Found],
    categories: Sequence[Category],
    reliable: tuple[BeforeAndAfter, BeforeAndAfter],
    meta: Meta,
    used: Sequence[tuple[str, str]],
) -> None:
    """result: what eval.json holds. reliable: confidences and visibilities, each before calibration and
    after.

    used: name and value of weights and data.
    """
    truths = [truth_of(sample) for sample in samples]
    errors = keypoint_errors(truths, founds, categories)
    shares = np.where(np.isfinite(errors.error_px), errors.error_px / errors.side_px, np.inf)
    environment = Environment(
        loader=PackageLoader("train.score"), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    page = environment.get_template("report.html.j2").render(
        result=result,
        cards=_cards(result),
        gap=_gap(result, meta),
        words=result["in_words"],
        plots=_plots(shares, *reliable),
        tables=[
            *([_by_object(result)] if result["by_object"] else []),
            _by_keypoint(result),
            _by_visibility(result, errors),
            *([_told_visibility(result)] if result["visibility"]["auc"] is not None else []),
            _by_size(errors, shares),
            _finds(result["mistakes"]),
        ],
        cases=worst_objects(samples, truths, founds, categories),
        used=used,
        config=json.dumps(meta.config.model_dump(mode="json"), indent=1),
    )
    write_text(path, page)


def _cards(result: dict[str, Any]) -> list[dict[str, str]]:
    bounds = result["confidence_95"]
    share = result["error_share"]["median"]
    return [
        _card("keypoint AP", result["keypoints"]["ap"], bounds["keypoint_ap"]),
        _card("PCK@0.05", result["pck"]["0.05"], bounds["pck"]["0.05"]),
        _card("PCK@0.10", result["pck"]["0.10"], bounds["pck"]["0.10"]),
        _card("median error, px", result["error_px"]["median"], bounds["error_px_median"], 1),
        _card("median error, % of the object", None if share is None else 100 * share, None, 1),
        {"label": "objects found", "value": f"{result['n_found']} of {result['n_objects']}", "note": ""},
    ]


def _card(label: str, value: float | None, bounds: list[float] | None, digits: int = 3) -> dict[str, str]:
    note = f"({bounds[0]:.{digits}f} to {bounds[1]:.{digits}f})" if bounds else ""
    return {"label": label, "value": _number(value, digits), "note": note}


def _gap(result: dict[str, Any], meta: Meta) -> str:
    real = result["keypoints"]["ap"]
    if meta.score is None or real is None:
        return ""
    return (
        f"On the images held out of its own training the detector reached keypoint AP {meta.score:.3f} "
        f"at step {meta.step}, on these photos {real:.3f}: a difference of {real - meta.score:+.3f}."
    )


def _by_object(result: dict[str, Any]) -> dict[str, Any]:
    rows = [
        [
            name,
            f"{row['n_found']} of {row['n_objects']}",
            *(_number(row[kind]["ap"]) for kind in ("bbox", "keypoints")),
            *(_number(row["pck"][t]) for t in ("0.05", "0.10")),
            _number(row["error_px"]["median"], 1),
        ]
        for name, row in result["by_object"].items()
    ]
    columns = ["object", "found", "bbox AP", "keypoint AP", "PCK@0.05", "PCK@0.10", "median px"]
    caption = "Average precisions of all objects together are the means of these."
    return {"title": "By object", "columns": columns, "rows": rows, "caption": caption}


def _by_keypoint(result: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for name, row in result["per_keypoint"].items():
        rows.append(
            [
                name,
                row["n"],
                *(_number(row["pck"][t]) for t in ("0.05", "0.10")),
                *(_number(row["error_px"][which], 1) for which in ("median", "p90")),
                *(percents(row["bias"][which]) for which in ("share", "picture_share")),
                row["not_found"],
            ]
        )
    columns = ["keypoint", "labelled", "PCK@0.05", "PCK@0.10", "median px", "p90 px"]
    columns += ["bias %", "in picture %", "not found"]
    caption = result["bias_in_words"]
    return {"title": "By keypoint", "columns": columns, "rows": rows, "caption": caption}


def percents(shares: Sequence[float] | None) -> str:
    return "–" if shares is None else ", ".join(f"{100 * share:+.1f}" for share in shares)


def _by_visibility(result: dict[str, Any], errors: Errors) -> dict[str, Any]:
    rows = [
        [
            name,
            int((errors.v == v).sum()),
            *(_number(result["pck_by_visibility"][name][t]) for t in ("0.05", "0.10")),
        ]
        for name, v in (("visible", VISIBLE), ("occluded", 1))
    ]
    return {
        "title": "By visibility",
        "columns": ["labelled as", "keypoints", "PCK@0.05", "PCK@0.10"],
        "rows": rows,
        "caption": "As the labels say it; some labels do not tell visible from occluded.",
    }


def _told_visibility(result: dict[str, Any]) -> dict[str, Any]:
    rows = [
        [
            name,
            *(row["visibility"][count] for count in ("n_visible", "n_hidden")),
            *(_number(row["visibility"][value]) for value in ("auc", "accuracy", "calibration_error")),
        ]
        for name, row in {**result["by_object"], "all": result}.items()
    ]
    return {
        "title": "Hidden or visible",
        "columns": ["object", "visible", "hidden", "AUC", "accuracy", "calibration error"],
        "rows": rows,
        "caption": "Of found objects whose labels tell hidden keypoints from visible ones. AUC: how likely a "
        "visible keypoint is said to be more visible than a hidden one, 0.5 for guesses. Accuracy: share on "
        "the right side of 0.5.",
    }


def _by_size(errors: Errors, shares: Array) -> dict[str, Any]:
    rows = []
    for low, high in pairwise(SIZE_EDGES_PX):
        chosen = (errors.side_px >= low) & (errors.side_px < high)
        if chosen.any():
            near = shares[chosen & np.isfinite(shares)]
            rows.append(
                [
                    f"{low:.0f} to {high:.0f} px" if np.isfinite(high) else f"from {low:.0f} px",
                    int(chosen.sum()),
                    *(_number(pck(errors, t, chosen)) for t in (0.05, 0.10)),
                    _number(100 * float(np.median(near)), 1) if len(near) else "–",
                ]
            )
    return {
        "title": "By object size",
        "columns": ["longer side in the photo", "keypoints", "PCK@0.05", "PCK@0.10", "median %"],
        "rows": rows,
        "caption": "Median: of found objects, in % of the longer side.",
    }


def _finds(mistakes: dict[str, Any]) -> dict[str, Any]:
    """Misses and false finds apart, by the size of the box and by what surrounds it."""
    named = [(_shares(row), row) for row in mistakes["by_size"]]
    named += [(row["surroundings"], row) for row in mistakes["by_surroundings"]]
    return {
        "title": "Missed and falsely found",
        "columns": ["objects", *(title for title, _ in FIND_COLUMNS)],
        "rows": [[name, *(row[kind] for _, kind in FIND_COLUMNS)] for name, row in named],
        "caption": (
            "First by the longer side of the box, in % of the picture's longer side; then by what "
            "surrounds it: overlapped by another object's box by a tenth or more, else cut off by the "
            f"picture's border, else free. False finds and objects found twice: detections {SHOWN_SCORE:g} "
            "sure or more, where their own box lies. Too large: half as large again as the labelled box."
        ),
    }


def _shares(row: dict[str, Any]) -> str:
    low, high = (None if row[key] is None else f"{100 * row[key]:.0f}" for key in ("from", "to"))
    return f"from {low} %" if high is None else f"{low} to {high} %"


def _plots(shares: Array, confidence: BeforeAndAfter, visibility: BeforeAndAfter) -> list[dict[str, Any]]:
    thresholds = np.linspace(0, CURVE_TO, 101)
    curve = [float((shares <= t).mean()) if len(shares) else 0.0 for t in thresholds]
    figure, axes = _figure("share of the object's longer side", "keypoints nearer than that")
    axes.plot(thresholds, curve, color=ACCENT)
    axes.set_xlim(0, CURVE_TO)
    axes.set_ylim(0, 1.02)
    plots = [
        {
            "svg": _svg(figure),
            "text": "PCK over its threshold. Keypoints of objects not found count as wrong.",
        }
    ]

    figure, axes = _figure("error, share of the object's longer side", "keypoints")
    found = shares[np.isfinite(shares)]
    axes.hist(np.minimum(found, CURVE_TO), bins=40, range=(0, CURVE_TO), color=ACCENT)
    beyond = int((found > CURVE_TO).sum())
    plots.append(
        {
            "svg": _svg(figure),
            "text": f"Errors of found objects; {beyond} beyond {CURVE_TO:g} stand in the last bar.",
        }
    )

    words = "how often a keypoint of that confidence is right"
    plots.append(_reliability("keypoint confidence", f"share nearer than {RIGHT_WITHIN}", words, confidence))
    if visibility[1].count:
        words = "how often a keypoint of that visibility is visible"
        plots.append(_reliability("keypoint visibility", "share visible", words, visibility))
    return plots


def _reliability(said: str, true: str, words: str, reliable: BeforeAndAfter) -> dict[str, Any]:
    before, after = reliable
    figure, axes = _figure(said, true)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
    axes.plot(before.said, before.true, color=INK, alpha=0.5, marker=".", label="before calibration")
    axes.plot(after.said, after.true, color=ACCENT, marker="o", markersize=4, label="calibrated")
    axes.legend(fontsize=7, loc="upper left")
    for x, y, n in zip(after.said, after.true, after.count, strict=True):
        axes.annotate(str(n), (x, y), textcoords="offset points", xytext=(4, -10), fontsize=7, color=INK)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    text = (
        f"Reliability: {words} (numbers: keypoints). Mean distance from the line {_number(after.error)}; "
        f"before the calibration on images held out of training {_number(before.error)}."
    )
    return {"svg": _svg(figure), "text": text}


def _figure(x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=INK, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _svg(figure: Figure) -> Markup:
    """The figure as an <svg> element; matplotlib writes nothing of the data's text into it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
