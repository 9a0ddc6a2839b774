"""The commands that use a detector. torch is imported late."""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from synth.cli import example
from synth.errors import ConfigError
from synth.text import visible
from train.cli_training import smallest_object
from train.device import chosen_device, tune_cpu

if TYPE_CHECKING:
    from train.detect.predict import InferenceSettings

existing = click.Path(path_type=Path)


class Within(click.FloatRange):
    """A number in the range; `nan`, which compares with none, is outside."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not in the range {self._describe_range()}.", param, ctx)
        return number


SHARE = Within(0, 1)


@click.command(
    "predict",
    epilog=example(
        "meshmark predict runs/my_part/train photos/ clip.mp4",
        "--out runs/my_part/predict",
    ),
)
@click.argument("weights", type=existing)
@click.argument("inputs", nargs=-1, required=True)
@click.option("--out", type=existing, required=True, help="Folder for predictions and overlays.")
@click.option("--score", type=SHARE, default=0.5, show_default=True, help="Least score of a detection.")
@click.option("--keypoint-score", type=SHARE, default=0.1, show_default=True, help="Least, of a keypoint.")
@click.option("--nms", type=SHARE, help="IoU above which the weaker of two boxes goes.")
@click.option("--detections", type=int, help="Objects in a picture at most.")
@click.option("--size", type=int, help="Longer side, in px, to which pictures are scaled.")
@smallest_object
@click.option("--frames", type=click.IntRange(1), help="Pictures of a video or camera at most.")
@click.option("--overlays/--no-overlays", default=True, show_default=True)
@click.option("--device", help="cpu, cuda; by default cuda where there is one.")
def predict_command(
    weights: Path,
    inputs: tuple[str, ...],
    out: Path,
    score: float,
    keypoint_score: float,
    nms: float | None,
    detections: int | None,
    size: int | None,
    smallest_px: int | None,
    frames: int | None,
    overlays: bool,
    device: str | None,
) -> None:
    """Find objects in images, folders, globs, videos or a camera (its number)."""
    tune_cpu()
    from train.detect.inputs import find_inputs, left_out_of
    from train.detect.predict import Detector, InferenceSettings, tiles_in_words
    from train.detect.predict_files import predict_files

    settings = InferenceSettings(score, nms, detections, size, smallest_px)
    photos, films = find_inputs(inputs)
    for what in left_out_of(inputs):
        click.echo(f"warning: {what}", err=True)
    detector = Detector.load(weights, chosen_device(device), settings)
    summary = predict_files(detector, photos, films, out, keypoint_score, frames, overlays)
    read = tiles_in_words(summary.tiles)
    click.echo(f"{summary.objects} objects in {summary.pictures} pictures, {read}: {out}")
    if not summary.objects:
        say_how_near(weights, chosen_device(device), photos, settings, score)
    exit_if_failed(summary.failed)


@click.command(
    "label-helper",
    epilog=example(
        "meshmark label-helper runs/my_part/train photos/",
        "--out runs/my_part/to-label",
    ),
)
@click.argument("weights", type=existing)
@click.argument("inputs", nargs=-1, required=True)
@click.option("--out", type=existing, required=True, help="New folder for photos and labels.")
@click.option("--score", type=SHARE, default=0.5, show_default=True, help="Least score of a detection.")
@click.option("--keypoint-score", type=SHARE, default=0.1, show_default=True, help="Least, of a visible one.")
@smallest_object
@click.option("--device", help="cpu, cuda; by default cuda where there is one.")
def label_helper_command(
    weights: Path,
    inputs: tuple[str, ...],
    out: Path,
    score: float,
    keypoint_score: float,
    smallest_px: int | None,
    device: str | None,
) -> None:
    """First labels for unlabelled photos, to correct in CVAT or Label Studio: least certain photos first."""
    tune_cpu()
    from train.detect.inputs import find_inputs, left_out_of
    from train.detect.label_helper import COCO_FILE, WEAKEST, label_helper
    from train.detect.predict import Detector, InferenceSettings, tiles_in_words

    photos, films = find_inputs(inputs)
    for what in left_out_of(inputs):
        click.echo(f"warning: {what}", err=True)
    if films:
        raise ConfigError(f"{films[0].source}: labels are for photos, not for films")
    settings = InferenceSettings(score=min(score, WEAKEST), smallest_px=smallest_px)
    detector = Detector.load(weights, chosen_device(device), settings)
    summary = label_helper(detector, photos, out, score, keypoint_score)
    read = tiles_in_words(summary.tiles)
    click.echo(f"{summary.objects} objects in {summary.photos} photos, {read}: {out / COCO_FILE}")
    exit_if_failed(summary.failed)


@click.command("export", epilog=example("meshmark export runs/my_part/train --out my_part.onnx --score 0.5"))
@click.argument("weights", type=existing)
@click.option("--format", "file_format", type=click.Choice(["onnx", "torchscript"]), default="onnx")
@click.option("--out", type=existing, required=True, help="File to write.")
@click.option("--int8", type=existing, help="Also write OUT.int8.onnx, its ranges from this labelled folder.")
@click.option("--int8-images", type=click.IntRange(1), default=100, show_default=True)
@click.option("--score", type=SHARE, help="Least score of a detection; by default that of the training.")
@click.option("--nms", type=SHARE, help="IoU above which the weaker of two boxes goes.")
@click.option("--detections", type=int, help="Objects in a picture at most.")
@click.option("--size", type=int, help="Longer side, in px, to which pictures are scaled.")
@smallest_object
def export_command(
    weights: Path,
    file_format: Literal["onnx", "torchscript"],
    out: Path,
    int8: Path | None,
    int8_images: int,
    score: float | None,
    nms: float | None,
    detections: int | None,
    size: int | None,
    smallest_px: int | None,
) -> None:
    """One file that finds objects without this project: ONNX (read by train/runtime.py) or TorchScript."""
    tune_cpu()
    from train.detect.predict import InferenceSettings
    from train.detect.quantize import export_files

    settings = InferenceSettings(score, nms, detections, size, smallest_px)
    for file in export_files(weights, out, file_format, settings, int8, int8_images):
        click.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


@click.command(
    "pose",
    epilog=example(
        "meshmark pose runs/my_part/train photos/ --object my_part",
        "--camera camera.yaml --out runs/my_part/pose",
    ),
)
@click.argument("weights", type=existing)
@click.argument("inputs", nargs=-1, required=True)
@click.option("--object", "object_", required=True, help="Name in assets/ or a path to an object's folder.")
@click.option("--camera", type=existing, help="Calibration file of OpenCV, ROS, Kalibr, COLMAP and others.")
@click.option("--fov-deg", type=Within(1, 170), help="Field of view along the longer side.")
@click.option("--out", type=existing, required=True, help="Folder for poses.jsonl and overlays.")
@click.option("--score", type=SHARE, default=0.5, show_default=True, help="Least score of a detection.")
@smallest_object
@click.option("--device", help="cpu, cuda; by default cuda where there is one.")
def pose_command(
    weights: Path,
    inputs: tuple[str, ...],
    object_: str,
    camera: Path | None,
    fov_deg: float | None,
    out: Path,
    score: float,
    smallest_px: int | None,
    device: str | None,
) -> None:
    """Where objects are, seen from the camera: metres, from keypoints and intrinsics."""
    tune_cpu()
    from train.detect.inputs import find_inputs, left_out_of
    from train.detect.pose_files import POSES, pose_files, without_pose
    from train.detect.predict import Detector, InferenceSettings, tiles_in_words

    photos, films = find_inputs(inputs)
    for what in left_out_of(inputs):
        click.echo(f"warning: {what}", err=True)
    if films:
        raise ConfigError(f"{films[0].source}: poses are found in images, not in films")
    settings = InferenceSettings(score=score, smallest_px=smallest_px)
    detector = Detector.load(weights, chosen_device(device), settings)
    done = pose_files(detector, object_, photos, out, camera, fov_deg)
    read = tiles_in_words(done.tiles)
    click.echo(f"{done.poses} poses in {done.pictures} pictures, {read}: {out / POSES}")
    if done.without:
        click.echo(f"{without_pose(done.without)}; {POSES} says more")
    elif not done.poses:
        say_how_near(weights, chosen_device(device), photos, settings, score)
    exit_if_failed(done.failed)


@click.command(
    "eval-pose",
    epilog=example(
        "meshmark eval-pose runs/my_part/train --synth runs/my_part/synth",
        "--object my_part --out runs/my_part/pose",
    ),
)
@click.argument("weights", type=existing)
@click.option("--synth", type=existing, required=True, help="Folder that `meshmark render` made.")
@click.option("--object", "object_", required=True, help="Name in assets/ or a path to an object's folder.")
@click.option("--out", type=existing, required=True, help="Folder for poses.json.")
@click.option("--count", type=click.IntRange(1), default=200, show_default=True, help="Images at most.")
@click.option("--device", help="cpu, cuda; by default cuda where there is one.")
def eval_pose_command(
    weights: Path, synth: Path, object_: str, out: Path, count: int, device: str | None
) -> None:
    """Measure poses on rendered images, whose true poses are known."""
    tune_cpu()
    from rich.console import Console

    from train.score.pose_eval import evaluate_poses, print_poses

    result = evaluate_poses(weights, synth, object_, out, count, chosen_device(device))
    print_poses(result, Console(soft_wrap=True, highlight=False))
    click.echo(f"results: {out / 'poses.json'}")


def say_how_near(
    weights: Path, device: str, photos: Sequence[Path], settings: "InferenceSettings", score: float
) -> None:
    """Where nothing was found: whether something almost was."""
    from train.detect.predict import highest_score

    best = highest_score(weights, device, photos, settings)
    if best is not None and best < score:
        click.echo(f"the highest score in the first pictures is {best:.2f}, below --score {score:g}")


def exit_if_failed(failed: Mapping[str, str]) -> None:
    """Names the pictures that could not be read; exit code 1 if there are any."""
    for reason in failed.values():
        click.echo(visible(f"left out: {reason}"), err=True)
    if failed:
        click.echo(f"{len(failed)} of the files given could not be read", err=True)
        sys.exit(1)


use_commands = (predict_command, label_helper_command, export_command, pose_command, eval_pose_command)
