"""The commands that need no torch: render, preview, validate, asset, fetch, convert."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from synth.config import EXECUTORS, LAYOUTS, RENDERERS

if TYPE_CHECKING:
    from synth.dataset.coco import Category

console = Console(soft_wrap=True, markup=False)


def example(*lines: str) -> str:
    """The end of a command's --help: what could be typed, long commands over several lines."""
    typed = " \\\n    ".join(lines)
    return f"Example:\n\n\b\n{typed}"


@click.command(epilog=example("meshmark render --object my_part --n 10000 --out runs/my_part/synth"))
@click.option("--object", "object_", default="chessboard", show_default=True, help="Name or folder.")
@click.option("--n", default=5000, show_default=True, type=click.IntRange(1), help="Images in the set.")
@click.option("--config", default="default", show_default=True, help="Name in configs/synth/ or YAML file.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the data set.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--workers", default=0, type=click.IntRange(0), help="Processes; 0 = one per core.")
@click.option(
    "--executor",
    default=EXECUTORS[0],
    show_default=True,
    type=click.Choice(EXECUTORS),
    help="This machine, or a Ray cluster.",
)
@click.option(
    "--format",
    "layout",
    default=LAYOUTS[0],
    show_default=True,
    type=click.Choice(LAYOUTS),
    help="An image a file, or tar shards.",
)
@click.option(
    "--backgrounds",
    default="default",
    show_default=True,
    help="Folder of photos, `default` for the pool `meshmark fetch` keeps, `none` for surfaces only.",
)
@click.option(
    "--environments",
    default="default",
    show_default=True,
    help="Folder of panoramas (.exr, .hdr), `default` for those `meshmark fetch` keeps, `none`: even light.",
)
@click.option("--renderer", default=RENDERERS[0], show_default=True, type=click.Choice(RENDERERS))
def render(
    object_: str,
    n: int,
    config: str,
    out: Path,
    seed: int,
    workers: int,
    executor: str,
    layout: str,
    backgrounds: str,
    environments: str,
    renderer: str,
) -> None:
    """Render a labelled data set, or top one up to N images."""
    from synth.config import load_synth_config
    from synth.generate.job import RenderJob
    from synth.generate.run import generate
    from synth.system.pictures import unread_below

    photos, maps = background_folder(backgrounds), environment_folder(environments)
    if photos is not None and photos.is_dir():
        for what in unread_below(photos):
            console.print(f"warning: {photos}: {what}")
    job = RenderJob(object_, load_synth_config(config), photos, seed, renderer, maps)
    new = generate(job, out, n, workers, executor, layout)
    console.print(f"{out}: {new} images rendered, {n} asked for")


def background_folder(choice: str) -> Path | None:
    """The folder of the background pool, None for procedural surfaces only."""
    from synth.fetch.pools import background_photos

    if choice == "none":
        return None
    return background_photos() if choice == "default" else Path(choice)


def environment_folder(choice: str) -> Path | None:
    """The folder of the pool of environment maps, None for even light."""
    from synth.fetch.pools import environment_maps

    if choice == "none":
        return None
    return environment_maps() if choice == "default" else Path(choice)


@click.command(epilog=example("meshmark preview runs/my_part/synth --out preview.jpg"))
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Default: DATASET/preview.jpg.")
@click.option("--count", default=24, show_default=True, type=click.IntRange(1))
@click.option("--object", "object_", default=None, help="What is labelled, where the labels do not say it.")
def preview(dataset: Path, out: Path | None, count: int, object_: str | None) -> None:
    """Draw images with their labels, in any format that `convert` reads, on one contact sheet."""
    from synth.dataset.formats.table import read_labels
    from synth.inspect.preview import preview_sheet

    labelled = read_labels(dataset, _asked(object_), object_)
    target = out or (dataset if dataset.is_dir() else dataset.parent) / "preview.jpg"
    preview_sheet(labelled, target, count)
    console.print(f"{target}")


@click.command(epilog=example("meshmark validate photos/ --object my_part"))
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--object", "object_", default=None, help="Compare names and number of keypoints with it.")
def validate(dataset: Path, object_: str | None) -> None:
    """Look for faults in labels, in any format that `convert` reads; exit code 2 when there are errors."""
    from synth.dataset.validate import print_report, validate_dataset

    report = validate_dataset(dataset, next(iter(_asked(object_)), None), object_)
    print_report(report)
    raise SystemExit(2 if report.has_errors else 0)


@click.group(epilog=example("meshmark asset check my_part"))
def asset() -> None:
    """Check or start an object folder."""


@asset.command("check", epilog=example("meshmark asset check my_part --out turntable.png"))
@click.argument("path")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Turntable picture.")
def asset_check(path: str, out: Path | None) -> None:
    """Lint an object and draw it from all sides with its keypoints named."""
    from synth.inspect.asset_check import check_object
    from synth.inspect.remark import print_remarks
    from synth.inspect.turntable import write_turntable
    from synth.objects.load import load_object

    failed = print_remarks(check_object(path))
    if not failed:
        target = out or Path("runs") / load_object(path).name / "turntable.png"
        write_turntable(path, target)
        console.print(f"{target}")
    raise SystemExit(2 if failed else 0)


@asset.command("new", epilog=example("meshmark asset new assets/my_part --mesh my_part.glb"))
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--mesh", type=click.Path(path_type=Path), required=True)
def asset_new(path: Path, mesh: Path) -> None:
    """Start an object folder from a mesh: a commented object.yaml to fill in."""
    from synth.inspect.template import write_template

    for what in write_template(path, mesh):
        console.print(f"warning: {mesh}: {what}")
    console.print(f"{path / 'object.yaml'}: name your keypoints there, then `meshmark asset check {path}`")


@click.command(epilog=example("meshmark fetch chessboards"))
@click.argument("what", type=click.Choice(["chessboards", "backgrounds", "environments"]))
def fetch(what: str) -> None:
    """Fetch the real chessboard photos or a default pool; prints the folder."""
    from synth.fetch.chessboards import chessboard_photos
    from synth.fetch.pools import background_photos, environment_maps

    take = {
        "chessboards": chessboard_photos,
        "backgrounds": background_photos,
        "environments": environment_maps,
    }
    console.print(str(take[what]()))


class _FormatName(click.ParamType[str]):
    """A format of synth.dataset.formats.table, which is not loaded for other commands: it takes long."""

    name = "format"

    def _choice(self) -> click.Choice[str]:
        from synth.dataset.formats.table import WRITTEN

        return click.Choice(list(WRITTEN))

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return self._choice().get_metavar(param, ctx)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return self._choice().convert(value, param, ctx)


@click.command(epilog=example("meshmark convert runs/my_part/synth yolo/ --to yolo-pose"))
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--to", type=_FormatName(), required=True, help="Format of the labels in TARGET.")
@click.option("--object", "object_", help="For bop, and for one JSON a photo without a schema.json.")
def convert(source: Path, target: Path, to: str, object_: str | None) -> None:
    """Labels at SOURCE, of any format, as the new folder TARGET; to bop from a rendered folder only."""
    from synth.dataset.convert import convert as run

    category = next(iter(_asked(object_)), None)
    done = run(source, target, to, category, object_)
    console.print(f"{target}: {done.images} images")
    if done.areas:
        console.print(
            f"warning: {done.areas} labels with an `area` that no object in their box has: the box's taken"
        )


def _asked(object_: str | None) -> "tuple[Category, ...]":
    """The category of the object, if one is named."""
    from synth.dataset.coco import object_category

    return () if object_ is None else (object_category(object_)[0],)


synth_commands: list[click.Command] = [render, preview, validate, asset, fetch, convert]
