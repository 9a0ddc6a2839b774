import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from synth.dataset.coco import Category
from synth.errors import ConfigError, DataError
from train.cli import main
from train.config import TrainConfig
from train.model.build import build_model
from train.model.snapshot import Meta, make_meta, write_snapshot
from train.run import engine
from train.run import sources as run_sources
from train.run.batches import TrainData

Maker = Callable[..., Path]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def _bug_asset(monkeypatch: pytest.MonkeyPatch, category: Category) -> None:
    monkeypatch.setattr(run_sources, "object_category", lambda _: (category, None))


@pytest.fixture
def preset(tmp_path: Path, tiny_config: TrainConfig) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(tiny_config.model_dump_json())
    return path


@pytest.fixture
def snapshot(tmp_path: Path, tiny_config: TrainConfig, category: Category) -> Path:
    model = build_model(tiny_config.model, 2, 2, vendor=False)
    write_snapshot(tmp_path / "best", make_meta(tiny_config, [category], [None], {}), model.state_dict())
    return tmp_path / "best"


@pytest.mark.slow
@pytest.mark.usefixtures("_bug_asset")
def test_train_then_eval_on_photos(
    coco_folder: Maker, photo_folder: Maker, preset: Path, tmp_path: Path
) -> None:
    rendered, photos = coco_folder(n=8), photo_folder(n=4)
    run, out = tmp_path / "run", tmp_path / "eval"
    trained = invoke(
        "train", "--object", "bug", "--synth", rendered, "--real", photos, "--val", photos,
        "--real-fraction", 0.25, "--preset", preset, "--out", run, "--steps", 2, "--device", "cpu",
    )  # fmt: skip
    assert trained.exit_code == 0, trained.output
    assert f"best snapshot: {run / 'best'}" in trained.output
    measured = invoke("eval", run, "--real", photos, "--out", out, "--device", "cpu")
    assert measured.exit_code == 0, measured.output
    result = json.loads((out / "eval.json").read_text())
    assert (result["n_images"], result["n_objects"]) == (4, 6)
    for keys in (
        ("bbox", "ap"), ("bbox", "ap50"), ("keypoints", "ap"), ("keypoints", "ap50"),
        ("pck", "0.05"), ("pck", "0.10"), ("error_px", "median"), ("error_px", "p90"),
    ):  # fmt: skip
        assert keys[1] in result[keys[0]]
    assert set(result["per_keypoint"]) == {"nose", "tail"}
    assert {"pck", "error_px", "bias"} <= result["per_keypoint"]["nose"].keys()
    for name in ("worst.jpg", "predictions.jpg"):
        with Image.open(out / name) as picture:
            assert picture.width > 300


@pytest.mark.usefixtures("_bug_asset")
@pytest.mark.parametrize(
    ("sources", "fraction", "held"),
    [(("synth",), 0.0, "images"), (("real",), 1.0, "p"), (("synth", "real"), 0.2, "p")],
)
def test_share_and_validation_follow_from_the_data_given(
    coco_folder: Maker,
    photo_folder: Maker,
    preset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sources: tuple[str, ...],
    fraction: float,
    held: str,
) -> None:
    seen: list[tuple[Meta, TrainData]] = []

    def remember(meta: Meta, data: TrainData, *_: object) -> engine.TrainResult:
        seen.append((meta, data))
        return engine.TrainResult(tmp_path, tmp_path, 0, 0.0)

    monkeypatch.setattr(engine, "train", remember)
    preset.write_text(preset.read_text().replace('"real_fraction":0.0', '"real_fraction":0.2'))
    paths = {"synth": coco_folder(n=4), "real": photo_folder(n=4)}
    options: list[Any] = [part for name in sources for part in (f"--{name}", paths[name])]
    result = invoke("train", "--object", "x", *options, "--preset", preset, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    meta, data = seen[0]
    assert meta.config.data.real_fraction == fraction
    (validation,) = data.validation
    assert held in str(validation.image_path)
    trained = {s.image_path for s in (*data.synthetic, *data.real)}
    assert validation.image_path not in trained
    assert len(trained) == 4 * len(sources) - 1


@pytest.mark.usefixtures("_bug_asset")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to train on"),
        (["--synth", "absent"], "absent: no such file or folder"),
        (["--synth", "empty"], "empty: no labels in it: no JSON file"),
        (["--synth", "empty", "--preset", "huge"], "preset 'huge'"),
        (["--synth", "empty", "--real-fraction", "2"], "command line: data.real_fraction"),
        (["--synth", "empty", "--device", "tpu"], "--device: 'tpu'"),
        (["--synth", "empty", "--synth-weights", "nan"], "--synth-weights: 'nan', expected numbers"),
        (["--synth", "empty", "--minutes", "nan"], "command line: schedule.max_minutes"),
        (["--synth", "empty", "--seed", str(2**64)], "command line: seed"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    defaults = [] if "--preset" in arguments else ["--preset", "cpu"]
    result = invoke("train", "--object", "bug", "--out", "run", *defaults, *arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("_bug_asset")
def test_run_that_starts_from_a_snapshot_names_it_and_what_it_lacks(
    snapshot: Path, coco_folder: Maker, preset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = invoke(
        "train", "--object", "bug", "--synth", coco_folder(n=4), "--preset", preset, "--out", run,
        "--steps", 1, "--device", "cpu", "--init", snapshot,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "tensors loaded, trained on bug (K = 2)" in done.stderr
    assert f"start from {snapshot}" in json.loads((run / "best" / "meta.json").read_text())["data"]
    gone = invoke(
        "train", "--object", "bug", "--synth", coco_folder(n=4), "--preset", preset, "--out", tmp_path / "b",
        "--init", tmp_path / "none",
    )  # fmt: skip
    assert gone.exit_code == 2
    assert "none/model.safetensors: not readable" in gone.stderr


def test_eval_of_weights_for_another_object_is_refused(
    snapshot: Path, photo_folder: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, category: Category
) -> None:
    schema = replace(category.schema, names=("tl", "tr", "br"), oks_sigmas=(0.1,) * 3)
    board = replace(category, name="board", schema=schema)
    monkeypatch.setattr(run_sources, "object_category", lambda _: (board, None))
    result = invoke("eval", snapshot, "--real", photo_folder(), "--object", "board", "--out", tmp_path / "e")
    assert result.exit_code == 2
    assert "K = 2 [nose, tail], board has K = 3 [tl, tr, br]" in result.stderr
    assert not (tmp_path / "e").exists()


def test_eval_of_no_snapshot_is_one_line(photo_folder: Maker, tmp_path: Path) -> None:
    result = invoke("eval", tmp_path / "none", "--real", photo_folder(), "--out", tmp_path / "e")
    assert result.exit_code == 2
    assert "meta.json: no such file" in result.stderr


@pytest.mark.parametrize(("device", "cuda"), [("cpu", False), ("cuda", True)])
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_the_preset_follows_from_the_device_asked_for(
    monkeypatch: pytest.MonkeyPatch, command: str, device: str, cuda: bool
) -> None:
    asked = []

    def preset_path(name: str, cuda: bool) -> Path:
        asked.append((name, cuda))
        raise ConfigError("enough")

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("train.config.preset_path", preset_path)
    sources = ["--synth", "x", "--real", "x"] + ["--test", "x"] * (command == "sweep")
    result = invoke(command, "--object", "chessboard", *sources, "--out", "x", "--device", device)
    assert "enough" in result.output
    assert asked == [("auto", cuda)]


def test_interrupt_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_sources, "object_category", stop)
    result = invoke("train", "--object", "x", "--synth", "y", "--preset", "cpu", "--out", tmp_path / "run")
    assert result.exit_code == 130
    assert "--resume" in result.stderr


def test_command_line_starts_without_torch() -> None:
    code = (
        "import sys, train.cli; print(sorted({'torch', 'torchvision', 'albumentations'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (OSError(28, "No space left on device"), "error: No space left on device\n"),
        (OSError(5, "Input/output error", "a\x1b[31m"), "error: a\\x1b[31m: Input/output error\n"),
        (DataError("a\nerror: \x1b]0;fake\x07"), "error: a error: \\x1b]0;fake\\x07\n"),
        (MemoryError(), "error: there is not enough memory for this\n"),
    ],
)
def test_every_fault_is_one_line_that_a_terminal_shows(
    fault: Exception, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr("synth.dataset.validate.validate_dataset", fail)
    done = CliRunner().invoke(main, ["validate", str(tmp_path)])
    assert (done.exit_code, done.stderr) == (2, line)


@pytest.mark.slow
def test_ctrl_c_while_modules_load_is_one_line() -> None:
    code = (
        "import signal, sys, threading, os; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Stop:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'synth.cli': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from train.start import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
