"""One HTML page about an evaluation, self-contained: no script, no network, nothing beside it."""

import base64
import io
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from synth.dataset.coco import Category
from synth.system.files import write_text
from synth.system.pictures import read_image
from synth.types import NOT_LABELLED, VISIBLE, Array, Rgb
from train.model.snapshot import Meta
from train.score.answers import draw_answers
from train.score.matching import Errors, keypoint_errors, match_detections
from train.score.metrics import pck
from train.score.reliability import Reliability
from train.types import Found, Sample, Truth, truth_of

CASES = 24
CASE_PX = 320
CASE_MARGIN = 0.25
CURVE_TO = 0.2
SIZE_EDGES_PX = (0.0, 96.0, 192.0, 384.0, float("inf"))
INK, ACCENT = "#5b6875", "#1f6feb"


def write_report(
    path: Path,
    result: dict[str, Any],
    samples: Sequence[Sample],
    founds: Sequence[Found],
    categories: Sequence[Category],
    reliable: tuple[Reliability, Reliability],
    meta: Meta,
    used: Sequence[tuple[str, str]],
) -> None:
    """result: of metrics.evaluate with `object` and `data`. reliable: before calibration and after.

    used: name and value of weights and data.
    """
    truths = [truth_of(sample) for sample in samples]
    errors = keypoint_errors(truths, founds)
    shares = np.where(np.isfinite(errors.error_px), errors.error_px / errors.side_px, np.inf)
    environment = Environment(
        loader=PackageLoader("train.score"), autoescape=True, undefined=StrictUndefined, trim_blocks=False
    )
    page = environment.get_template("report.html.j2").render(
        result=result,
        cards=_cards(result),
        gap=_gap(result, meta),
        words=result.get("in_words", []),
        plots=_plots(shares, *reliable),
        tables=[
            *([_by_object(result)] if result["by_object"] else []),
            _by_keypoint(result),
            _by_visibility(result, errors),
            _by_size(errors, shares),
        ],
        cases=_cases(samples, truths, founds, categories),
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
    caption = (
        "Bias: mean error along and across the object, and to the right and down in the picture, in % of the "
        "object's longer side. A bias means that the keypoint stands elsewhere in object.yaml than where the "
        "photos label it; scatter is for training. Down in the picture: it lies on an axis where the photos "
        "label the surface; see `radius` in docs/object-yaml.md."
    )
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


def _plots(shares: Array, before: Reliability, reliable: Reliability) -> list[dict[str, Any]]:
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

    figure, axes = _figure("keypoint confidence", f"share nearer than {reliable.threshold:g}")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
    axes.plot(before.confidence, before.correct, color=INK, alpha=0.5, marker=".", label="before calibration")
    axes.plot(
        reliable.confidence, reliable.correct, color=ACCENT, marker="o", markersize=4, label="calibrated"
    )
    axes.legend(fontsize=7, loc="upper left")
    for x, y, n in zip(reliable.confidence, reliable.correct, reliable.count, strict=True):
        axes.annotate(str(n), (x, y), textcoords="offset points", xytext=(4, -10), fontsize=7, color=INK)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    text = (
        "Reliability: how often a keypoint of that confidence is right (numbers: keypoints). "
        f"Mean distance from the line {_number(reliable.error)}; before the calibration on images held out "
        f"of training {_number(before.error)}."
    )
    plots.append({"svg": _svg(figure), "text": text})
    return plots


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


def _cases(
    samples: Sequence[Sample],
    truths: Sequence[Truth],
    founds: Sequence[Found],
    categories: Sequence[Category],
) -> list[dict[str, str]]:
    """The objects with the largest mean error, cut out of their photos, worst first."""
    rows: list[tuple[float, int, int]] = []
    for image, (truth, found) in enumerate(zip(truths, founds, strict=True)):
        for i, detection in enumerate(match_detections(truth, found)):
            labelled = truth.keypoints[i, :, 2] > NOT_LABELLED
            if truth.iscrowd[i] or not labelled.any():
                continue
            error = 1.0
            if detection is not None:
                away = truth.keypoints[i, labelled, :2] - found.keypoints[detection][labelled]
                side = float((truth.boxes[i, 2:] - truth.boxes[i, :2]).max())
                error = float(np.minimum(np.hypot(*away.T) / max(side, 1e-9), 1.0).mean())
            rows.append((error, image, i))
    cases = []
    for error, image, i in sorted(rows, key=lambda row: (-row[0], row[1], row[2]))[:CASES]:
        missed = match_detections(truths[image], founds[image])[i] is None
        text = f"{samples[image].image_path.name}: {'not found' if missed else f'{error:.3f}'}"
        jpeg = _cut_out(samples[image], truths[image].boxes[i], founds[image], categories)
        cases.append({"jpeg": jpeg, "text": text})
    return cases


def _cut_out(sample: Sample, box: Array, found: Found, categories: Sequence[Category]) -> str:
    """Base64 of a JPEG: the square around the box with labels and detections."""
    rgb = read_image(sample.image_path)
    reach = max(float((box[2:] - box[:2]).max()) * (0.5 + CASE_MARGIN), 16.0)
    middle = (box[:2] + box[2:]) / 2
    scale = CASE_PX / (2 * reach)
    matrix = np.array([[scale, 0, -scale * (middle[0] - reach)], [0, scale, -scale * (middle[1] - reach)]])
    # warpAffine counts pixels from their centres
    matrix[:, 2] += 0.5 * (scale - 1)
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small: Rgb = cv2.warpAffine(
        rgb, matrix, (CASE_PX, CASE_PX), flags=flags, borderValue=(245, 247, 249)
    ).astype(np.uint8)
    small = draw_answers(small, sample, found, categories, middle - reach, scale)
    done, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    assert done
    return base64.b64encode(data.tobytes()).decode()


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
