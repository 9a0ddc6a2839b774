"""TrainConfig: one YAML file describes a training run; an unknown key or a bad value is an error."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from synth.errors import ConfigError
from synth.system.shipped import shipped_folder
from synth.system.yaml_files import read_yaml, validation_text
from train.backbones import BACKBONES

PRESET_FOLDER = shipped_folder("configs") / "train"

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
STRIDES = (4, 8, 16, 32)
GONE = (("optim", "ema_decay"),)
"""Settings of earlier versions, which saved configs may still hold: section and name."""


def _known_backbone(name: str) -> str:
    if name not in BACKBONES:
        raise ValueError(f"{name!r}, expected one of {', '.join(BACKBONES)}")
    return name


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelConfig(Section):
    """Layers of the Keypoint R-CNN and what it does with its proposals and detections.

    backbone: a row of train.backbones.
    weights: what the backbone (imagenet) or the whole network (coco, where there is such a file) starts from.
    weights_file: a local copy of those weights, used instead of the installed package or the download.
    trainable_stages: how many of the backbone's stages train, counted from the output; 0 trains none.
    long_side_px: to which a whole picture is scaled, or more where smallest_px asks for it.
    smallest_px: the longer side that small objects of the training images have at least in the network's
        input; 0: long_side_px stays as it is.
    crop_px: side of the square crops that the network sees besides: in training as data.crops says; at
        inference for a second look at each object found, at crop_reach times the longer side of its box, cut
        from the photo. 0: no crops, no second look.
    strides: of the pyramid's levels that regions are cut from; proposal_strides: of those that propose
        (the pooled level of twice the last stride proposes too).
    keypoint_canonical_px: side of a box whose keypoints are read from the level of stride 16; twice the
        value reads every box one level finer.
    keypoint_reach: side of the square region whose heatmaps are read, as a multiple of the box's longer side;
        1: the box itself, stretched to a square. keypoint_cells: cells a side of what the keypoint head sees
        of it; heatmaps have four times as many.
    keypoint_head_dilations: of the keypoint head's layers, in turn and over again where there are more: with
        (1, 2, 4, 1), a heatmap's cell sees 8 cells far.
    anchor_sizes: one tuple of box sides, in px of the network's input, for each proposing level.
    """

    backbone: Annotated[str, AfterValidator(_known_backbone)]
    weights: Literal["imagenet", "coco", "none"] = "imagenet"
    weights_file: Path | None = None
    trainable_stages: Annotated[int, Field(ge=0, le=8)] = 4
    frozen_norm: bool = True
    long_side_px: Annotated[int, Field(ge=64, le=4096)] = 640
    smallest_px: Annotated[int, Field(ge=0, le=512)] = 0
    crop_px: Annotated[int, Field(ge=0, le=2048)] = 0
    crop_reach: Annotated[float, Field(ge=1, le=4)] = 1.3
    strides: tuple[int, ...] = STRIDES
    proposal_strides: tuple[int, ...] = (8, 16, 32)
    fpn_channels: Annotated[int, Field(ge=8, le=1024)] = 64
    anchor_sizes: tuple[
        Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(min_length=1, max_length=64)], ...
    ]
    anchor_ratios: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=64)] = (0.5, 1.0, 2.0)
    rpn_pre_nms: Annotated[int, Field(ge=1, le=100_000)] = 500
    rpn_post_nms: Annotated[int, Field(ge=1, le=100_000)] = 200
    rpn_regions: Annotated[int, Field(ge=2, le=100_000)] = 128
    box_head_channels: Annotated[int, Field(ge=8, le=4096)] = 256
    keypoint_canonical_px: Annotated[int, Field(ge=1, le=8192)] = 224
    keypoint_regions: Annotated[int, Field(ge=1, le=10_000)] = 12
    keypoint_reach: Annotated[float, Field(ge=1, le=2)] = 1.0
    keypoint_cells: Annotated[int, Field(ge=4, le=128)] = 14
    keypoint_head_layers: Annotated[int, Field(ge=1, le=64)] = 4
    keypoint_head_channels: Annotated[int, Field(ge=8, le=2048)] = 128
    keypoint_head_dilations: Annotated[
        tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(max_length=64)
    ] = (1,)
    regions: Annotated[int, Field(ge=2, le=10_000)] = 48
    positive_share: Share = 0.25
    detections: Annotated[int, Field(ge=1, le=10_000)] = 20
    score_threshold: Share = 0.05
    box_nms: Share = 0.5

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        for name in ("strides", "proposal_strides"):
            levels = getattr(self, name)
            if not levels or list(levels) != sorted(set(levels)) or not set(levels) <= set(STRIDES):
                raise ValueError(f"{name} is {list(levels)}, expected a rising selection of {list(STRIDES)}")
        if not set(self.proposal_strides) <= set(self.strides):
            raise ValueError(
                f"proposal_strides {list(self.proposal_strides)} must be among strides {list(self.strides)}"
            )
        if len(self.anchor_sizes) != len(self.proposal_strides) + 1:
            raise ValueError(
                f"anchor_sizes has {len(self.anchor_sizes)} levels, expected "
                f"{len(self.proposal_strides) + 1} (one per proposal stride and one for the pooled level)"
            )
        if len({len(sizes) for sizes in self.anchor_sizes}) != 1:
            raise ValueError("anchor_sizes must hold as many sizes on every level")
        having = [name for name, spec in BACKBONES.items() if self.weights in spec.vendor_files]
        if self.weights != "none" and self.backbone not in having:
            raise ValueError(
                f"weights: {self.weights} exist for backbone {', '.join(having)}, not {self.backbone}"
            )
        if self.weights == "coco" and (self.strides != STRIDES or self.proposal_strides != STRIDES):
            raise ValueError(f"weights: coco need strides and proposal_strides {list(STRIDES)}")
        return self


class OptimConfig(Section):
    """AdamW with a one-cycle learning rate: linear warm-up, then half a cosine down to 0.

    Learning rates are for a batch of 4 and grow with the square root of the batch size.
    accumulate: parts a process's share of the batch is divided into, one after another, for less memory.
    """

    backbone_lr: Positive = 3e-4
    head_lr: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    warmup_share: Share = 0.1
    clip_norm: Positive = 5.0
    accumulate: Annotated[int, Field(ge=1, le=100_000)] = 1


class AugmentConfig(Section):
    """Strength of each augmentation; 0 switches it off.

    scale: largest zoom in or out (0.3 = factors 0.7 to 1.3). rotate_degrees, translate: largest turn and
    shift (share of the side). flip: probability, only for objects that declare flip_pairs. color:
    brightness, contrast, saturation; hue: of a full turn. The others are probabilities.
    """

    geometry: Share = 0.7
    scale: Share = 0.3
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
    translate: Share = 0.1
    flip: Share = 0.5
    color: Share = 0.3
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    gray: Share = 0.1
    shadow: Share = 0.2
    blur: Share = 0.2
    noise: Share = 0.2
    jpeg: Share = 0.2


class CropConfig(Section):
    """Crops about objects, which show an object in a fraction of a whole picture's time.

    share: of the images drawn that are shown as a crop, where model.crop_px is set; the others are shown as a
        whole picture is at inference, or a part of it with sides of at most largest_px where that is larger.
    reach: side of a crop as a multiple of its object's longer side, from and to.
    rotate_degrees: largest turn.
    """

    share: Share = 0.92
    largest_px: Annotated[int, Field(ge=64)] = 384
    reach: tuple[Annotated[float, Field(ge=1, le=10)], Annotated[float, Field(ge=1, le=10)]] = (1.15, 1.6)
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = 30.0

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.reach[0] > self.reach[1]:
            raise ValueError(f"reach is {list(self.reach)}, expected the smaller number first")
        return self


class DataConfig(Section):
    """batch_size: images a step, all processes together. real_fraction: share of real images in every batch,
        or a list of shares, one for each of so many equal stretches of the run ([0, 0.2, 0.5]: real late);
        None: as train.data.mix.real_share says.

    min_visible_fraction: an object of which less is visible in the picture is not a target.
    box_margin_px: how far a target box reaches beyond its outermost labelled keypoint.
    holdout: share of the training images kept for validation when no validation set is given.
    """

    batch_size: Annotated[int, Field(ge=1, le=100_000)] = 4
    real_fraction: Share | Annotated[tuple[Share, ...], Field(min_length=1, max_length=1000)] | None = None
    workers: Annotated[int, Field(ge=0, le=10_000)] = 1
    min_visible_fraction: Share = 0.25
    box_margin_px: Annotated[float, Field(ge=0)] = 2.0
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.05
    max_validation_images: Annotated[int, Field(ge=1, le=1_000_000)] = 60
    augment: AugmentConfig = AugmentConfig()
    crops: CropConfig = CropConfig()


class ScheduleConfig(Section):
    """A run ends at max_steps or max_minutes, whichever comes first; an epoch is one snapshot.

    With max_minutes the learning rate follows the clock: such a run cannot be repeated exactly.
    until_learned: the learning rate stays at its peak until the validation images are learned or get no
        better, or until the rest of max_steps is needed for its fall; then it falls to 0, and the run ends.
    """

    max_steps: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1000
    max_minutes: Positive | None = None
    steps_per_epoch: Annotated[int, Field(ge=1, le=1_000_000_000)] = 250
    until_learned: bool = False

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.until_learned and self.max_minutes is not None:
            raise ValueError("max_minutes and until_learned are both given, expected one of them")
        return self


class TrainConfig(Section):
    model: ModelConfig
    optim: OptimConfig = OptimConfig()
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    amp: bool = False

    @model_validator(mode="after")
    def _stretches_of_a_known_run(self) -> Self:
        if self.schedule.until_learned and isinstance(self.data.real_fraction, tuple):
            raise ValueError(
                "data.real_fraction is a list, a share for each stretch of a run, but this run goes on until "
                "it has learned; give its length (STEPS=) or one share"
            )
        return self


def preset_path(name: str, cuda: bool) -> Path:
    """The YAML file of a preset name (`auto` = gpu where there is one, else cpu), or `name` as a path."""
    chosen = ("gpu" if cuda else "cpu") if name == "auto" else name
    path = Path(chosen)
    if path.suffix not in (".yaml", ".yml"):
        path = PRESET_FOLDER / f"{chosen}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PRESET_FOLDER.glob("*.yaml")))
        raise ConfigError(f"preset {name!r}: no file {path}, expected a YAML file or one of: auto, {known}")
    return path


def load_train_config(path: Path) -> TrainConfig:
    """Reads a YAML file; ConfigError names the file, the key and what was expected."""
    return parse_config(read_yaml(path, ConfigError), str(path))


def saved_config(raw: dict[str, Any], where: str) -> TrainConfig:
    """A config that this or an earlier version saved beside its results: without the settings that are GONE.

    Raises ConfigError as parse_config does.
    """
    kept = {
        section: {key: item for key, item in value.items() if (section, key) not in GONE}
        if isinstance(value, dict)
        else value
        for section, value in raw.items()
    }
    return parse_config(kept, where)


def parse_config(raw: dict[str, Any], where: str) -> TrainConfig:
    """raw: the sections as nested mappings. where: names their source in errors. Raises ConfigError."""
    try:
        return TrainConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{where}: {validation_text(error)}") from error


def with_changes(config: TrainConfig, changes: dict[str, dict[str, Any] | Any], where: str) -> TrainConfig:
    """`config` with the values of `changes` (same nesting) that are not None put in, validated again."""
    raw = config.model_dump(mode="json")
    for section, value in changes.items():
        if isinstance(value, dict):
            raw[section].update({key: item for key, item in value.items() if item is not None})
        elif value is not None:
            raw[section] = value
    return parse_config(raw, where)
