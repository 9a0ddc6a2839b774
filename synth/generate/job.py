"""What to render, and the manifest that tells one such job from another."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from synth.config import RENDERERS, SynthConfig
from synth.objects.library import Library
from synth.objects.load import load_object
from synth.objects.mesh_pool import open_pool
from synth.scene.background import photo_names
from synth.scene.environment import environment_names

FORMAT = 7
VERSIONS = ("moderngl", "numpy", "opencv-python-headless", "OpenEXR", "pyrender2", "trimesh")


@dataclass(frozen=True)
class RenderJob:
    """What to render: image i is a function of these and i alone."""

    object_path: str
    config: SynthConfig
    backgrounds: Path | None
    seed: int
    renderer: str = RENDERERS[0]
    environments: Path | None = None

    def library(self) -> Library:
        photos = photo_names(self.backgrounds) if self.backgrounds else ()
        maps = environment_names(self.environments) if self.environments else ()
        meshes = self.config.distractors.meshes
        return Library(
            (load_object(self.object_path),),
            photos,
            open_pool(Path(meshes)) if meshes else None,
            maps,
            self.backgrounds,
        )


def make_manifest(job: RenderJob, library: Library) -> dict[str, Any]:
    """Everything the images depend on."""
    return {
        "format": FORMAT,
        "seed": job.seed,
        "renderer": job.renderer,
        "objects": {asset.name: asset.hashes for asset in library.objects},
        "backgrounds": _pool(job.backgrounds, library.photos),
        "environments": _pool(job.environments, library.environments),
        "distractors": library.meshes.hashes() if library.meshes else None,
        "config": job.config.model_dump(mode="json"),
        "versions": {package: version(package) for package in VERSIONS},
    }


def _pool(folder: Path | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    return {"files": len(names), "sha256": pool_digest(folder, names)} if folder else None


def pool_digest(folder: Path, names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode() + b"\0" + (folder / name).read_bytes())
    return digest.hexdigest()
