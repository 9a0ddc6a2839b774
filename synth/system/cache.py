"""The one folder in which everything that was fetched is kept: photos, pools, weights."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pooch

from synth.errors import EnvironmentProblem

CHESSBOARDS, BACKGROUNDS, ENVIRONMENTS = "chessboards-v1", "backgrounds-v1", "environments-v1"


def cache_folder() -> Path:
    """The folder that the environment variable MESHMARK_CACHE names, else the user's cache folder for
    meshmark (~/.cache/meshmark on Linux). It need not exist."""
    return Path(os.environ.get("MESHMARK_CACHE") or pooch.os_cache("meshmark")).expanduser()


def publish(folder: Path, fill: Callable[[Path], None]) -> None:
    """Makes `folder` with what `fill(new)` writes into the empty folder `new`, a temporary neighbour that is
    then renamed: whoever looks finds the folder whole or not at all. Where another process was faster, its
    folder stays. Raises EnvironmentProblem when the place cannot be written to."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise EnvironmentProblem(f"{folder.parent}: cannot write the cache: {error.strerror}") from error
    try:
        fill(new)
        new.chmod(0o755)
        try:
            new.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
