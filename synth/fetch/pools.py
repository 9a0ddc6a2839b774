"""The default pools: background photos and environment maps."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from synth.errors import EnvironmentProblem
from synth.fetch.debian import say, sha256_of, unpack_debian
from synth.fetch.pins import BACKGROUND_SHA256, ENVIRONMENT_SHA256
from synth.system.cache import BACKGROUNDS, ENVIRONMENTS, cache_folder, publish
from synth.system.files import write_text

BACKGROUND_LONGER_SIDE_PX = 1280


def background_photos() -> Path | None:
    """A pool of real photographs to put behind rendered objects; downloaded on the first call.

    Returns a flat folder of JPEGs, or None, after a warning on stderr, when the packages cannot be had.
    """
    return _pool(
        BACKGROUNDS,
        _take_backgrounds,
        "no background photos ({}); surfaces will be procedural only. "
        "Pass BACKGROUNDS=folder (--backgrounds folder) to use photos of your own",
    )


def environment_maps() -> Path | None:
    """A pool of panoramas to light scenes with; downloaded on the first call.

    Returns a flat folder of EXR files, or None, after a warning on stderr, when the package cannot be had.
    """
    return _pool(
        ENVIRONMENTS,
        _take_environments,
        "no environment maps ({}); light from all sides will be even. "
        "Pass ENVIRONMENTS=folder (--environments folder) to use maps of your own",
    )


def _pool(name: str, take: Callable[[Path], None], warning: str) -> Path | None:
    folder = cache_folder() / name
    if not folder.is_dir():
        try:
            publish(folder, take)
        except EnvironmentProblem as error:
            say(f"warning: {warning.format(error)}")
            return None
    return folder


def _take_backgrounds(into: Path) -> None:
    def save(source: Path) -> str:
        target = into / f"{source.stem}.jpg"
        _save_small_jpeg(source, target)
        return target.name

    _take_packages(into, BACKGROUND_SHA256, "background photos, scaled down", save)


def _take_environments(into: Path) -> None:
    def save(source: Path) -> str:
        shutil.copyfile(source, into / source.name)
        return source.name

    _take_packages(into, ENVIRONMENT_SHA256, "environment maps", save)


def _take_packages(
    into: Path, packages: dict[str, dict[str, str]], what: str, save: Callable[[Path], str]
) -> None:
    """save: brings a file of a package into the folder and returns its name there."""
    lines = [f"From Debian packages: {what}; see each package's copyright file.", ""]
    for package, files in packages.items():
        say(f"fetching {len(files)} {what}: Debian package {package}")
        with tempfile.TemporaryDirectory() as scratch:
            unpacked = unpack_debian(package, Path(scratch))
            for name, expected in files.items():
                if not (unpacked / name).is_file() or sha256_of(unpacked / name) != expected:
                    say(f"warning: Debian package {package}: {name} is absent or altered; left out")
                    continue
                lines.append(f"- {save(unpacked / name)}: {package}, {name}")
            shutil.copyfile(unpacked / "usr/share/doc" / package / "copyright", into / f"{package}.copyright")
    if len(lines) == 2:
        raise EnvironmentProblem(f"Debian's packages hold none of the expected {what}")
    write_text(into / "SOURCE.md", "\n".join(lines) + "\n")


def _save_small_jpeg(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        image.thumbnail((BACKGROUND_LONGER_SIDE_PX, BACKGROUND_LONGER_SIDE_PX), Image.Resampling.LANCZOS)
        image.convert("RGB").save(target, "JPEG", quality=90)
