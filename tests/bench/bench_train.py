"""Seconds per image of a training step: ours (whole_pictures.yaml) and torchvision's stock network.

    python -m tests.bench.bench_train --synth FOLDER --object glue_tube --repeats 5

Same augmented images at the same input size, batches of --batch; the stock network trains three of its
backbone's five stages, as torchvision does from COCO weights (here its weights are random: the time is the
same). Both start from random weights, so neither is spared regions; steps alternate, medians are shown.
"""

import argparse
import statistics
import time
from pathlib import Path

from train.device import tune_cpu

tune_cpu()
import torch
from torch import Tensor, nn
from torchvision.models.detection import keypointrcnn_resnet50_fpn

from synth.dataset.coco import object_category
from train.config import load_train_config
from train.data.mix import Draw
from train.data.samples import read_samples
from train.data.transforms import TrainingImages
from train.model.build import build_model
from train.run.batches import collate

RECIPE = Path("tests/bench/whole_pictures.yaml")
FROZEN = ("backbone.body.conv1", "backbone.body.bn1", "backbone.body.layer1")


def stock(num_keypoints: int, width: int, height: int) -> nn.Module:
    model: nn.Module = keypointrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=2,
        num_keypoints=num_keypoints,
        min_size=min(width, height),
        max_size=max(width, height),
    )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(FROZEN))
    return model


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: list[Tensor], targets: list[dict[str, Tensor]]
) -> float:
    """Seconds."""
    start = time.perf_counter()
    losses = model([image.float() / 255 for image in images], targets)
    optimizer.zero_grad(set_to_none=True)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--synth", type=Path, required=True)
    parser.add_argument("--object", default="glue_tube")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    config = load_train_config(RECIPE)
    category, _ = object_category(chosen.object)
    samples = read_samples(chosen.synth, category)
    views = TrainingImages(samples, (), [category], config.data, config.model.long_side_px)
    batches = [
        collate([views[Draw(False, (n * chosen.batch + i) % len(samples), n)] for i in range(chosen.batch)])
        for n in range(chosen.repeats + 1)
    ]
    height, width = batches[0][0][0].shape[1:]
    models = {
        "stock keypointrcnn_resnet50_fpn": stock(len(category.schema), width, height),
        "meshmark": build_model(config.model, 2, len(category.schema)),
    }
    trained = {
        name: torch.optim.AdamW([p for p in model.train().parameters() if p.requires_grad], lr=1e-5)
        for name, model in models.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for images, targets, _ in batches:
        for name, model in models.items():
            seconds[name].append(step(model, trained[name], images, targets) / chosen.batch)
    print(f"{width}x{height}, batches of {chosen.batch}, medians of {chosen.repeats} after one to warm up")
    base = 0.0
    for name, times in seconds.items():
        middle = statistics.median(times[1:])
        base = base or middle
        print(f"{name:34} {middle:7.3f} s an image {base / middle:6.1f} x")


if __name__ == "__main__":
    main()
