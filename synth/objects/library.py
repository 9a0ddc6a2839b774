"""What scenes are made of."""

from dataclasses import dataclass
from pathlib import Path

from synth.objects.mesh_pool import MeshPool
from synth.types import ObjectAsset


@dataclass(frozen=True)
class Library:
    """What scenes are made of: target objects, names of the background photos, meshes of distractors, names
    of the environment maps.

    photo_folder: where the photos lie, to see how they are lit; None = not looked at.
    """

    objects: tuple[ObjectAsset, ...]
    photos: tuple[str, ...] = ()
    meshes: MeshPool | None = None
    environments: tuple[str, ...] = ()
    photo_folder: Path | None = None

    def __getitem__(self, name: str) -> ObjectAsset:
        return next(asset for asset in self.objects if asset.name == name)
