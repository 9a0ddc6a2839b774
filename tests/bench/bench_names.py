"""How soon keypoints are told apart: the keypoint head alone, on crops about objects with true boxes.

    python -m tests.bench.bench_names --object path/to/part --synth FOLDER --steps 300

Preset cpu's backbone, pyramid and keypoint head, without proposals and box head, at constant rates after
50 steps of warm-up; one row a variant: PCK@0.10 of visible and hidden keypoints of the object amid each of
150 crops of images held out. A trial of the recipe's parts, not a detector.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from train.device import tune_cpu

tune_cpu()
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor

from synth.dataset.coco import Category, object_category
from synth.types import OCCLUDED, VISIBLE
from train.config import TrainConfig, load_train_config, preset_path, with_changes
from train.data.mix import Draw
from train.data.samples import read_samples
from train.data.transforms import TrainingImages
from train.model.build import build_model, parameter_groups
from train.model.detector import KeypointDetector
from train.model.heatmaps import heatmap_loss
from train.model.sampling import shaken
from train.types import Sample

HELD_OUT, WARM_UP, BATCH = 150, 50, 16
PLAIN = dict.fromkeys(("color", "hue", "gray", "shadow", "blur", "noise", "jpeg", "flip"), 0)


def torchvision_weights(model: KeypointDetector) -> None:
    """The head's first weights as torchvision draws them."""
    heads = model.roi_heads
    layers = [m for m in heads.keypoint_head if isinstance(m, nn.Conv2d)]
    theirs = [m for m in KeypointRCNNHeads(layers[0].in_channels, [layers[0].out_channels] * len(layers))]
    for own, other in zip(layers, [m for m in theirs if isinstance(m, nn.Conv2d)], strict=True):
        own.load_state_dict(other.state_dict())
    last = heads.keypoint_predictor.kps_score_lowres
    other = KeypointRCNNPredictor(last.in_channels, last.out_channels)
    last.load_state_dict(other.kps_score_lowres.state_dict())


VARIANTS: dict[str, tuple[dict[str, Any], Callable[[KeypointDetector], None]]] = {
    "as it is": ({}, lambda _: None),
    "torchvision's first weights": ({}, torchvision_weights),
    "rates times four": ({"optim": {"backbone_lr": 6e-4, "head_lr": 1e-3}}, lambda _: None),
    "crops of up to two sides": ({"data": {"crops": {"reach": [1.15, 2.0]}}}, lambda _: None),
    "all stages trained": ({"model": {"trainable_stages": 8}}, lambda _: None),
}


def views(samples: tuple[Sample, ...], category: Category, config: TrainConfig) -> TrainingImages:
    whole = with_changes(config, {"data": {"crops": {**config.data.crops.model_dump(), "share": 1.0}}}, "")
    return TrainingImages(
        samples, (), [category], whole.data, config.model.long_side_px, config.model.crop_px
    )


def amid(view: tuple[Tensor, dict[str, Tensor], str]) -> tuple[Tensor, Tensor, Tensor] | None:
    """The picture, and box (1, 4) and keypoints (1, K, 3) of the object nearest to its middle, if any."""
    image, target, _ = view
    boxes = target["boxes"]
    if not len(boxes):
        return None
    middle = image.shape[-1] / 2
    at = ((boxes[:, :2] + boxes[:, 2:]) / 2 - middle).norm(dim=1).argmin()
    return image, boxes[at][None], target["keypoints"][at][None]


def train(config: TrainConfig, model: KeypointDetector, images: TrainingImages, n: int, steps: int) -> None:
    optim, scale = config.optim, (BATCH / 4) ** 0.5
    groups = parameter_groups(model, optim.backbone_lr * scale, optim.head_lr * scale, optim.weight_decay)
    rates = [group["lr"] for group in groups]
    optimizer = torch.optim.AdamW(groups)
    for step in range(steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / WARM_UP)
        stream = torch.Generator().manual_seed(step)
        numbers = range(step * BATCH, (step + 1) * BATCH)
        shown = [amid(images[Draw(False, number * 7919 % n, number)]) for number in numbers]
        pictures, boxes, points = zip(*filter(None, shown), strict=True)
        batch, _ = model.transform([picture.float() / 255 for picture in pictures])
        regions = [model.enlarged(shaken(box, stream)) for box in boxes]
        maps, _ = model._read_keypoints(model.backbone(batch.tensors), regions, batch.image_sizes)
        loss = heatmap_loss(maps, torch.cat(regions), torch.cat(points))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
        optimizer.step()


@torch.no_grad()
def pck(model: KeypointDetector, images: TrainingImages) -> dict[int, float]:
    """PCK@0.10 by visibility."""
    right: dict[int, list[bool]] = {VISIBLE: [], OCCLUDED: []}
    for number in range(HELD_OUT):
        shown = amid(images[Draw(False, number, number)])
        if shown is None:
            continue
        picture, box, points = shown
        batch, _ = model.transform([picture.float() / 255])
        regions = model.reading_regions(box)
        maps, visibility = model._read_keypoints(model.backbone(batch.tensors), [regions], batch.image_sizes)
        found = model.merged_readings(maps, visibility, regions)[0][0, :, :2]
        near = (found - points[0, :, :2]).norm(dim=1) <= 0.1 * (box[0, 2:] - box[0, :2]).max()
        for v, rows in right.items():
            rows += near[points[0, :, 2] == v].tolist()
    return {v: float(np.mean(rows)) for v, rows in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--object", required=True)
    parser.add_argument("--synth", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    chosen = parser.parse_args()
    category, _ = object_category(chosen.object)
    samples = read_samples(chosen.synth, category)
    print("| variant | visible | hidden |\n|---|---|---|")
    for name, (changes, change) in VARIANTS.items():
        torch.manual_seed(0)
        config = load_train_config(preset_path("cpu", cuda=False))
        for section, values in changes.items():
            config = with_changes(config, {section: values}, name)
        model = build_model(config.model, 2, len(category.schema)).train()
        change(model)
        learned = samples[HELD_OUT:]
        train(config, model, views(learned, category, config), len(learned), chosen.steps)
        plain = with_changes(config, {"data": {"augment": PLAIN}}, name)
        scores = pck(model.eval(), views(samples[:HELD_OUT], category, plain))
        print(f"| {name} | {scores[VISIBLE]:.3f} | {scores[OCCLUDED]:.3f} |", flush=True)


if __name__ == "__main__":
    main()
