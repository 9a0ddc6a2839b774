import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from synth.config import SynthConfig
from synth.errors import DataError
from synth.generate import RenderJob, generate, read_log

N = 6


@pytest.fixture
def job(box_folder: Path, small_config: SynthConfig) -> RenderJob:
    return RenderJob(str(box_folder), small_config, None, 7)


@pytest.fixture(scope="session")
def reference(box_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    config = SynthConfig.model_validate({"camera": {"width_px": 160, "height_px": 120}})
    out = tmp_path_factory.mktemp("reference")
    generate(RenderJob(str(box_folder), config, None, 7), out, N, workers=1)
    return contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("workers", [2, 4])
def test_bytes_do_not_depend_on_the_number_of_workers(
    job: RenderJob, reference: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    generate(job, tmp_path, N, workers)
    assert contents(tmp_path) == reference


def test_topping_up_equals_rendering_at_once(
    job: RenderJob, reference: dict[str, bytes], tmp_path: Path
) -> None:
    assert generate(job, tmp_path, 2, 1) == 2
    assert generate(job, tmp_path, N, 1) == N - 2
    assert contents(tmp_path) == reference


def test_a_killed_run_resumes_to_the_same_bytes(
    job: RenderJob, reference: dict[str, bytes], tmp_path: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from synth.config import SynthConfig;"
        "from synth.generate import RenderJob, generate;"
        f"generate(RenderJob({job.object_path!r}, SynthConfig.model_validate("
        "{'camera': {'width_px': 160, 'height_px': 120}}), None, 7), Path(sys.argv[1]), 500, 1)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], start_new_session=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(tmp_path.glob("images/*.jpg"))) < 3:
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    kept = (tmp_path / "scenes.jsonl").read_bytes().count(b"\n")
    assert kept >= 2
    assert not (tmp_path / "annotations.json").exists()
    with (tmp_path / "scenes.jsonl").open("ab") as log:
        log.write(b'{"index": 3, "cut')
    total = max(N, kept)
    generate(job, tmp_path, total, 1)
    for stray in tmp_path.glob("images/.*.tmp"):
        stray.unlink()
    made = contents(tmp_path)
    images = [name for name in reference if name.startswith("images/")]
    assert {name: made[name] for name in images} == {name: reference[name] for name in images}
    assert made["scenes.jsonl"].startswith(reference["scenes.jsonl"])


def test_a_complete_set_is_left_alone(job: RenderJob, reference: dict[str, bytes], tmp_path: Path) -> None:
    generate(job, tmp_path, N, 1)
    assert generate(job, tmp_path, N - 2, 1) == 0
    assert contents(tmp_path) == reference


def test_a_set_of_another_seed_is_refused_and_untouched(job: RenderJob, tmp_path: Path) -> None:
    generate(job, tmp_path, 1, 1)
    before = contents(tmp_path)
    with pytest.raises(DataError, match="seed"):
        generate(replace(job, seed=8), tmp_path, 2, 1)
    assert contents(tmp_path) == before


def test_a_folder_with_other_files_is_refused(job: RenderJob, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="not empty"):
        generate(job, tmp_path, 1, 1)


def test_pycocotools_reads_what_we_write(reference: dict[str, bytes], tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    path = tmp_path / "annotations.json"
    path.write_bytes(reference["annotations.json"])
    coco = COCO(str(path))
    assert len(coco.getImgIds()) == N
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation)
        assert mask.sum() == annotation["area"]
        assert min(annotation["bbox"][2:]) > 0
        assert len(annotation["keypoints"]) == 12
        assert annotation["num_keypoints"] == sum(v > 0 for v in annotation["keypoints"][2::3])


def test_log_and_annotations_agree(reference: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "scenes.jsonl").write_bytes(reference["scenes.jsonl"])
    rows = list(read_log(tmp_path))
    document = json.loads(reference["annotations.json"])
    assert [r["index"] for r in rows] == list(range(N))
    assert sum(len(r["annotations"]) for r in rows) == len(document["annotations"])
    assert document["categories"][0]["flip_pairs"] is None
