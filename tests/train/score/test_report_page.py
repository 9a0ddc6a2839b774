import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synth.dataset.coco import Category
from tests.conftest import HANG_S
from train.config import TrainConfig
from train.data.samples import read_samples
from train.model.build import build_model
from train.model.snapshot import labels_hash, make_meta, provenance, write_snapshot
from train.score.claims import confidence_claims, visibility_claims
from train.score.evaluate import evaluate_photos, picture_sizes
from train.score.intervals import interval
from train.score.metrics import evaluate
from train.score.mistakes import bias_in_words, count_mistakes
from train.score.outcomes import grouped, list_outcomes
from train.score.precision import ap_draws
from train.score.reliability import reliability
from train.score.report_page import write_report
from train.types import Found, Sample, truth_of

Maker = Callable[..., Path]
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
PHONE_PX = 390


def browser(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, f"none of {', '.join(BROWSERS)} is installed; `make test` installs one"
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0")
    return subprocess.run(
        [found, *flags, *arguments], capture_output=True, text=True, timeout=HANG_S, check=True
    )


@pytest.fixture
def samples(photo_folder: Maker, category: Category) -> tuple[Sample, ...]:
    """Every tail is hidden."""
    seen = read_samples(photo_folder(n=8), category)
    return tuple(replace(s, keypoints=s.keypoints - [[0, 0, 0], [0, 0, 1]]) for s in seen)


def found_near(samples: tuple[Sample, ...], off_px: float) -> list[Found]:
    """The truth, moved; the second photo's objects are missed."""
    founds = []
    for i, sample in enumerate(samples):
        n = 0 if i == 1 else len(sample.boxes)
        scores = np.linspace(0.4, 0.9, 2 * n).reshape(n, 2)
        points = sample.keypoints[:n, :, :2] + off_px
        visible = np.tile([0.8, 0.3], (n, 1))
        founds.append(Found(sample.boxes[:n], np.full(n, 0.9), sample.labels[:n], points, scores, visible))
    return founds


@pytest.fixture
def page(samples: tuple[Sample, ...], category: Category, tiny_config: TrainConfig, tmp_path: Path) -> Path:
    founds = found_near(samples, 2.0)
    truths = [truth_of(s) for s in samples]
    outcomes = list_outcomes(truths, founds, [category], picture_sizes(samples))
    mistakes = count_mistakes(outcomes)
    result: dict[str, Any] = {
        **evaluate(truths, founds, [category]),
        "object": "<b>bug</b>",
        "data": "photos & more",
        "in_words": [],
        "bias_in_words": bias_in_words(mistakes),
        "mistakes": {**mistakes.as_json(), **grouped(outcomes)},
    }
    result["confidence_95"]["keypoint_ap"] = interval(ap_draws(truths, founds, [category.schema]))
    meta = replace(make_meta(tiny_config, [category], [None], {}), score=0.987, step=7)
    path = tmp_path / "out" / "report.html"
    used = [("weights", "<script>alert(1)</script>")]
    kinds = confidence_claims, visibility_claims
    sure, seen = (reliability(claims(truths, founds, [category])) for claims in kinds)
    reliable = (sure, sure), (seen, seen)
    write_report(path, result, samples, founds, [category], reliable, meta, used)
    return path


def test_page_opens_from_disk_without_an_error_or_a_request(page: Path) -> None:
    shown = browser("--dump-dom", page.as_uri())
    assert "CONSOLE" not in shown.stderr
    assert "Refused" not in shown.stderr
    text = page.read_text()
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", text)
    assert links
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in links)
    assert "default-src 'none'" in text
    assert len(text) < 5_000_000


def test_page_fits_a_phone(page: Path) -> None:
    measuring = page.with_name("measured.html")
    script = (
        "<script>const d=document.documentElement;d.dataset.w=d.scrollWidth;d.dataset.v=innerWidth</script>"
    )
    text = re.sub(r"<meta http-equiv=.*?>", "", page.read_text())
    measuring.write_text(text.replace("</body>", script + "</body>"))
    dom = browser("--dump-dom", f"--window-size={PHONE_PX},800", measuring.as_uri()).stdout
    width, view = (int(re.search(rf'data-{key}="(\d+)"', dom)[1]) for key in "wv")  # type: ignore[index]
    assert view <= PHONE_PX
    assert width <= view


def test_page_says_what_was_measured_and_escapes_what_others_wrote(page: Path) -> None:
    text = page.read_text()
    headings = ("By keypoint", "By visibility", "By object size", "Missed and falsely found", "What was used")
    for heading in ("How far off", "Hidden or visible", *headings):
        assert f"<h2>{heading}</h2>" in text
    assert "keypoint AP 0.987 at step 7" in re.sub(r"\s+", " ", text)
    assert text.count("<svg") == 4
    assert text.count("data:image/jpeg") == 12
    assert "p1.jpg: not found" in text
    assert "<b>bug</b>" not in text
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_worst_objects_come_first(page: Path) -> None:
    order = re.findall(r"<figcaption>(p\d\.jpg): ([^<]*)</figcaption>", page.read_text())
    assert order[0] == ("p1.jpg", "not found")
    errors = [float(error) for _, error in order if error != "not found"]
    assert errors == sorted(errors, reverse=True)


def test_evaluation_writes_the_page_with_hashes_of_weights_and_data(
    photo_folder: Maker, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    photos = photo_folder(n=3)
    model = build_model(tiny_config.model.model_copy(update={"weights": "none"}), 2, 2)
    meta = make_meta(tiny_config, [category], [None], {"rendered/": "f00d" * 16})
    write_snapshot(tmp_path / "best", meta, model.state_dict())
    result = evaluate_photos(tmp_path / "best", photos, tmp_path / "eval", (), "cpu")
    text = (tmp_path / "eval" / "report.html").read_text()
    assert labels_hash(photos) in text
    assert "f00d" * 16 in text
    assert dict(provenance(tmp_path / "best"))["their SHA-256"] in text
    assert "keypoint_ap" in result["confidence_95"]
