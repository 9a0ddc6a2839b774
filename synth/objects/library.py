"""What scenes are made of."""

from dataclasses import dataclass

from synth.asset import ObjectAsset
from synth.system.pool import Pool


@dataclass(frozen=True)
class Library:
    """Target objects, and the pools of background photos, environment maps and meshes of distractors."""

    objects: tuple[ObjectAsset, ...]
    photos: Pool | None = None
    environments: Pool | None = None
    meshes: Pool | None = None

    def __getitem__(self, name: str) -> ObjectAsset:
        return next(asset for asset in self.objects if asset.name == name)
