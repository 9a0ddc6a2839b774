"""What to render, and the manifest that tells one such job from another."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from synth.config import RENDERERS, SynthConfig
from synth.objects.library import Library
from synth.objects.load import load_object
from synth.objects.mesh_pool import open_meshes
from synth.scene.background import open_photos
from synth.scene.environment import open_environments
from synth.system.pool import Pool

FORMAT = 7
VERSIONS = ("moderngl", "numpy", "opencv-python-headless", "OpenEXR", "pyrender2", "trimesh")


@dataclass(frozen=True)
class RenderJob:
    """What to render: image i is a function of these and i alone.

    backgrounds, environments: folders of photos and of environment maps, None = none.
    """

    object_path: str
    config: SynthConfig
    backgrounds: Path | None
    seed: int
    renderer: str = RENDERERS[0]
    environments: Path | None = None

    def library(self) -> Library:
        """Raises AssetError or DataError for an object or a pool that cannot be read."""
        meshes = self.config.distractors.meshes
        return Library(
            (load_object(self.object_path),),
            photos=open_photos(self.backgrounds) if self.backgrounds else None,
            environments=open_environments(self.environments) if self.environments else None,
            meshes=open_meshes(Path(meshes)) if meshes else None,
        )


def make_manifest(job: RenderJob, library: Library) -> dict[str, Any]:
    """Everything the images depend on."""
    return {
        "format": FORMAT,
        "seed": job.seed,
        "renderer": job.renderer,
        "objects": {asset.name: asset.hashes for asset in library.objects},
        "backgrounds": _summary(library.photos),
        "environments": _summary(library.environments),
        "distractors": library.meshes.hashes() if library.meshes else None,
        "config": job.config.model_dump(mode="json"),
        "versions": {package: version(package) for package in VERSIONS},
    }


def _summary(pool: Pool | None) -> dict[str, Any] | None:
    return {"files": len(pool.names), "sha256": pool.digest()} if pool else None
