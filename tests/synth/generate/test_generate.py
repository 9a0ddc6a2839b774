import ctypes
import gc
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from threadpoolctl import threadpool_info

import synth.generate.run
import synth.render.draws
from synth.config import LAYOUTS, SynthConfig
from synth.dataset.coco import Annotation, Category, ImageLabels, read_coco, write_coco
from synth.dataset.convert import convert
from synth.dataset.formats.table import read_labels
from synth.dataset.log import image_file, read_log
from synth.dataset.store import StoredImage
from synth.dataset.validate import validate_dataset
from synth.errors import DataError, EnvironmentProblem, InUseError
from synth.generate.images import Images
from synth.generate.job import RenderJob
from synth.generate.run import _start_worker, generate
from synth.inspect.preview import preview_sheet
from synth.system.files import locked
from synth.system.shards import open_file
from synth.types import KeypointSchema
from tests.conftest import HANG_S

N = 6


@pytest.fixture
def job(box_folder: Path, small_config: SynthConfig) -> RenderJob:
    return RenderJob(str(box_folder), small_config, None, 7)


@pytest.fixture(scope="session")
def reference(opengl: None, box_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    config = SynthConfig.model_validate({"camera": {"width_px": 160, "height_px": 120}})
    out = tmp_path_factory.mktemp("reference")
    generate(RenderJob(str(box_folder), config, None, 7), out, N, workers=1)
    return contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def wait_until(done: Callable[[], object], otherwise: str = "nothing happened") -> None:
    deadline = time.monotonic() + HANG_S
    while not done():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def is_running(group: int) -> bool:
    """Whether the process group still has a member."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def made_before(reference: dict[str, bytes]) -> Callable[..., Iterator[StoredImage]]:
    """Stands in for synth.generate.run.rendered: the reference's images."""
    rows = reference["scenes.jsonl"].splitlines(keepends=True)

    def rendered(job: RenderJob, library: Any, indices: range, *rest: object) -> Iterator[StoredImage]:
        for index in indices:
            yield reference[f"images/{index:07d}.jpg"], rows[index]

    return rendered


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_bytes_do_not_depend_on_the_number_of_workers(
    job: RenderJob, reference: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    generate(job, tmp_path, N, workers)
    assert contents(tmp_path) == reference


@pytest.mark.slow
def test_topping_up_equals_rendering_at_once(
    job: RenderJob, reference: dict[str, bytes], tmp_path: Path
) -> None:
    assert generate(job, tmp_path, 2, 1) == 2
    assert generate(job, tmp_path, N, 1) == N - 2
    assert contents(tmp_path) == reference


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bytes(
    job: RenderJob, reference: dict[str, bytes], tmp_path: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from synth.config import SynthConfig;"
        "from synth.generate.job import RenderJob; from synth.generate.run import generate;"
        f"generate(RenderJob({job.object_path!r}, SynthConfig.model_validate("
        "{'camera': {'width_px': 160, 'height_px': 120}}), None, 7), Path(sys.argv[1]), 500, 1)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], start_new_session=True)
    wait_until(lambda: len(list(tmp_path.glob("images/*.jpg"))) >= 3)
    child.kill()
    child.wait()
    wait_until(lambda: not is_running(child.pid), "the workers outlive the run")
    kept = (tmp_path / "scenes.jsonl").read_bytes().count(b"\n")
    assert kept >= 2
    assert not (tmp_path / "annotations.json").exists()
    with (tmp_path / "scenes.jsonl").open("ab") as log:
        log.write(b'{"index": 3, "cut')
    total = max(N, kept)
    generate(job, tmp_path, total, 1)
    made = contents(tmp_path)
    images = [name for name in reference if name.startswith("images/")]
    assert {name: made[name] for name in images} == {name: reference[name] for name in images}
    assert made["scenes.jsonl"].startswith(reference["scenes.jsonl"])


@pytest.mark.slow
def test_a_complete_set_is_left_alone(job: RenderJob, reference: dict[str, bytes], tmp_path: Path) -> None:
    generate(job, tmp_path, N, 1)
    assert generate(job, tmp_path, N - 2, 1) == 0
    assert contents(tmp_path) == reference


@pytest.mark.slow
@pytest.mark.gl
def test_a_set_whose_config_lacks_later_fields_is_topped_up(
    job: RenderJob, reference: dict[str, bytes], tmp_path: Path
) -> None:
    """They had their defaults before they had names."""
    generate(job, tmp_path, 2, workers=1)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["config"]["materials"], manifest["config"]["distractors"]["occluder_distance"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    generate(job, tmp_path, N, workers=1)
    found = contents(tmp_path)
    assert {name: found[name] for name in found if name != "manifest.json"} == {
        name: data for name, data in reference.items() if name != "manifest.json"
    }
    manifest["config"]["distractors"]["occluders"] = 0.9
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"config\.distractors\.occluders: 0\.9 there, 0\.3 now"):
        generate(job, tmp_path, N, workers=1)


@pytest.mark.slow
@pytest.mark.gl
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


@pytest.fixture
def shards(
    job: RenderJob, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setattr(synth.generate.run, "rendered", made_before(reference))
    monkeypatch.setattr(synth.dataset.store, "SHARD_IMAGES", 4)
    generate(job, tmp_path / "shards", N, layout="webdataset")
    return tmp_path / "shards"


def test_shards_hold_the_same_images_and_labels_as_a_folder(
    shards: Path, reference: dict[str, bytes], tmp_path: Path
) -> None:
    assert sorted(p.name for p in shards.iterdir()) == [
        "annotations.json",
        "manifest.json",
        "shard-00000.tar",
        "shard-00001.tar",
    ]
    for index, row in enumerate(read_log(shards)):
        assert row == json.loads(reference["scenes.jsonl"].splitlines()[index])
        with open_file(image_file(shards, index)) as file:
            assert file.read() == reference[f"images/{index:07d}.jpg"]
    ours = json.loads((shards / "annotations.json").read_text())
    theirs = json.loads(reference["annotations.json"])
    assert [i["file_name"] for i in ours["images"]] == [
        f"shard-{i // 4:05d}.tar/{i:07d}.jpg" for i in range(N)
    ]
    assert ours["annotations"] == theirs["annotations"]
    assert not validate_dataset(shards).has_errors
    preview_sheet(read_labels(shards), tmp_path / "sheet.jpg", 2)
    assert convert(shards, tmp_path / "flat", "coco", None, None).images == N


def test_the_webdataset_library_reads_the_shards(shards: Path, reference: dict[str, bytes]) -> None:
    from webdataset.tariterators import group_by_keys, tar_file_expander

    samples: list[dict[str, Any]] = []
    for shard in sorted(shards.glob("*.tar")):
        with shard.open("rb") as stream:
            files = tar_file_expander([{"url": str(shard), "stream": stream}])
            samples += group_by_keys(files)
    assert [s["__key__"] for s in samples] == [f"{i:07d}" for i in range(N)]
    for sample in samples:
        assert sample["jpg"] == reference[f"images/{sample['__key__']}.jpg"]
        assert json.loads(sample["json"])["index"] == int(sample["__key__"])


def test_a_set_of_another_layout_is_refused(job: RenderJob, shards: Path) -> None:
    with pytest.raises(DataError, match=r"layout: 'webdataset' there, 'folder' now"):
        generate(job, shards, N)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_disk_that_is_full_stops_the_run_and_the_next_goes_on(
    job: RenderJob,
    reference: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
) -> None:
    monkeypatch.setattr(synth.generate.run, "rendered", made_before(reference))
    generate(job, tmp_path / "whole", N, layout=layout)
    limit = len(reference["scenes.jsonl"]) // 2
    free = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, free[1]))
    try:
        with pytest.raises(EnvironmentProblem, match=r"cut: File too large; .* run again to go on"):
            generate(job, tmp_path / "cut", N, layout=layout)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, free)
    assert not (tmp_path / "cut" / "annotations.json").exists()
    assert 0 < generate(job, tmp_path / "cut", N, layout=layout) < N
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_a_worker_that_dies_stops_the_run_and_the_next_goes_on(
    job: RenderJob, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: Any) -> Iterator[StoredImage]:
        for index, image in enumerate(rendered(*arguments)):
            if index == 1:
                for worker in multiprocessing.active_children():
                    worker.kill()
            yield image

    rendered = synth.generate.run.rendered
    monkeypatch.setattr(synth.generate.run, "rendered", killed)
    with pytest.raises(EnvironmentProblem, match=r"a render worker died .* run again to go on"):
        generate(job, tmp_path, 500, 1)
    assert not multiprocessing.active_children()
    monkeypatch.setattr(synth.generate.run, "rendered", made_before(reference))
    assert 0 < generate(job, tmp_path, N) < N
    assert contents(tmp_path) == reference


@pytest.mark.gl
@pytest.mark.slow
def test_what_keeps_a_worker_from_starting_is_said(
    job: RenderJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_FILENAMES", "/nowhere.json")
    with pytest.raises(EnvironmentProblem, match="no OpenGL context through EGL"):
        generate(job, tmp_path, 1, 1)
    assert contents(tmp_path).keys() == {"manifest.json"}
    monkeypatch.undo()
    assert generate(replace(job, seed=8), tmp_path, 1, 1) == 1


@pytest.mark.gl
@pytest.mark.slow
def test_a_torn_row_of_the_log_is_named(job: RenderJob, tmp_path: Path) -> None:
    generate(job, tmp_path, 2, 1)
    log = tmp_path / "scenes.jsonl"
    log.write_bytes(log.read_bytes()[:-9])
    with pytest.raises(DataError, match="log breaks off at image 1"):
        list(read_log(tmp_path))


@pytest.mark.gl
@pytest.mark.slow
def test_a_folder_that_another_run_writes_is_refused(job: RenderJob, tmp_path: Path) -> None:
    generate(job, tmp_path / "out", 1, 1)
    with locked(tmp_path / "out"), pytest.raises(InUseError, match="another run is writing"):
        generate(job, tmp_path / "out", 2, 1)
    assert generate(job, tmp_path / "out", 2, 1) == 1


def render_command(job: RenderJob, out: Path, workers: int) -> subprocess.Popen[str]:
    """`meshmark render` of many small images in a process group of its own."""
    config = out.with_suffix(".yaml")
    config.write_text("camera: {width_px: 160, height_px: 120}")
    command = f"render --object {job.object_path} --config {config} --seed 7 --n 500 --workers {workers}"
    command += f" --backgrounds none --environments none --out {out}"
    listening = (
        "signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's background jobs ignore it
    )
    code = f"import signal; {listening}; from train.cli import main; main({command.split()!r})"
    return subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.gl
@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.1, 0.4])
def test_ctrl_c_while_workers_start_is_one_line(job: RenderJob, tmp_path: Path, seconds: float) -> None:
    child = render_command(job, tmp_path / "out", workers=2)
    wait_until((tmp_path / "out" / "manifest.json").exists)
    time.sleep(seconds)
    os.killpg(child.pid, signal.SIGINT)
    _, message = child.communicate(timeout=HANG_S)
    (line,) = message.splitlines()
    assert line.startswith("interrupted; run the same command again")


@pytest.mark.slow
def test_ctrl_c_stops_the_run_with_a_message_and_the_next_goes_on(
    job: RenderJob, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    child = render_command(job, out, workers=1)
    wait_until(lambda: len(list(out.glob("images/*.jpg"))) >= 2)
    os.killpg(child.pid, signal.SIGINT)
    _, message = child.communicate(timeout=HANG_S)
    assert child.returncode == 130
    assert message.splitlines()[-1].startswith("interrupted; run the same command again")
    wait_until(lambda: not is_running(child.pid), "a process outlives the run")
    kept = (out / "scenes.jsonl").read_bytes().count(b"\n")
    monkeypatch.setattr(synth.generate.run, "rendered", made_before(reference))
    assert generate(job, out, max(N, kept)) == max(0, N - kept)
    assert (out / "scenes.jsonl").read_bytes().startswith(reference["scenes.jsonl"])


@pytest.mark.gl
@pytest.mark.slow
def test_memory_files_and_opengl_objects_do_not_grow(job: RenderJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synth.render.draws, "TEXTURES_KEPT", 4)

    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    def resident_mb() -> float:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    def opengl_objects() -> list[int]:
        """Buffers, textures and renderbuffers that are alive, counted by the driver."""
        driver = ctypes.CDLL("libGL.so.1")
        kinds = (driver.glIsBuffer, driver.glIsTexture, driver.glIsRenderbuffer)
        for is_one in kinds:
            is_one.restype = ctypes.c_ubyte
        with images._renderer._gl:  # type: ignore[attr-defined]
            return [sum(is_one(name) for name in range(1, 2000)) for is_one in kinds]

    images = Images(job)
    for index in range(40):
        images.stored(index)
    before = resident_mb(), open_files(), opengl_objects()
    for index in range(40, 120):
        images.stored(index)
    assert open_files() == before[1]
    assert opengl_objects() == before[2]
    assert min(before[2]) > 0
    assert resident_mb() - before[0] < 30


def test_annotations_are_written_an_image_at_a_time(tmp_path: Path) -> None:
    category = Category(1, "box", KeypointSchema(("a", "b"), (), (), (0.1, 0.1)))
    annotation = Annotation(1, np.array([1.0, 2.0, 3.0, 4.0]), np.ones((2, 3)), 4.0)
    images = (ImageLabels(i + 1, f"images/{i}.jpg", 64, 48, (annotation,) * (i % 3)) for i in range(3000))
    tracemalloc.start()
    write_coco(tmp_path / "annotations.json", [category], images)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "annotations.json").stat().st_size > 500_000
    assert peak < 300_000
    dataset = read_coco(tmp_path / "annotations.json")
    assert [len(i.annotations) for i in dataset.images] == [i % 3 for i in range(3000)]
    raw = (tmp_path / "annotations.json").read_text()
    assert raw == json.dumps(json.loads(raw))
    assert [a["id"] for a in json.loads(raw)["annotations"]] == list(range(1, 3001))


def threads() -> set[int]:
    return {cv2.getNumThreads(), *(pool["num_threads"] for pool in threadpool_info())}


@pytest.mark.slow
def test_a_worker_computes_with_one_thread(job: RenderJob) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _start_worker, (job,)) as pool:
        assert pool.submit(threads).result() == {1}


@pytest.mark.gl
@pytest.mark.slow
def test_annotations_of_a_run_cut_off_before_them_are_whole_after_the_next(
    job: RenderJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(job, tmp_path, 2, 1)

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(synth.generate.run, "write_annotations", cut_off)
        with pytest.raises(KeyboardInterrupt):
            generate(job, tmp_path, 4, 1)
    assert generate(job, tmp_path, 3, 1) == 0
    assert len(json.loads((tmp_path / "annotations.json").read_text())["images"]) == 4
