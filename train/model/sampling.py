"""Which regions a training step learns from, drawn for each image from a random stream of its own.

So what an image trains on does not depend on the images beside it. The steps are those of torchvision's
RegionProposalNetwork and RoIHeads, and use their parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, concat_box_prediction_layers

SHIFT, STRETCH = 0.05, 0.1
"""By how much found boxes are taken to miss the true ones: standard deviations of the centre, as a share of
the side, and of the side's logarithm."""
BOX_LOSS_BETA = 1 / 9
"""Where the smooth L1 loss of proposals turns from a parabola into a line, as in torchvision."""


def draw(candidates: Tensor, count: int, stream: Generator) -> Tensor:
    """`count` of the candidates (N,) at random, or all."""
    order = torch.randperm(len(candidates), generator=stream)[:count]
    return candidates[order.to(candidates.device)]


def draw_again(count: int, times: int, stream: Generator) -> Tensor:
    """(times,) of the numbers below `count` at random, each as often as it is drawn; none of none."""
    if not count:
        return torch.zeros(0, dtype=torch.int64)
    return torch.randint(count, (times,), generator=stream)


def shaken(boxes: Tensor, stream: Generator) -> Tensor:
    """True boxes (N, 4) as they might be found: shifted and stretched, by two deviations at most."""
    noise = torch.randn(len(boxes), 4, generator=stream).clamp(-2, 2).to(boxes)
    size = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + SHIFT * noise[:, :2] * size
    half = size * (STRETCH * noise[:, 2:]).exp() / 2
    return torch.cat((centre - half, centre + half), dim=1)


def draw_balanced(
    labels: Tensor, sizes: BalancedPositiveNegativeSampler, stream: Generator
) -> tuple[Tensor, Tensor]:
    """Masks (N,) of the positive and of the negative regions of an image to learn from.

    labels: (N,), at least 1 for positive regions, 0 for negative ones, -1 for those that are neither.
    sizes: how many regions, and what share of them may be positive; nothing else of it is used.
    """
    most = int(sizes.batch_size_per_image * sizes.positive_fraction)
    positive = draw(torch.where(labels >= 1)[0], most, stream)
    negative = draw(torch.where(labels == 0)[0], sizes.batch_size_per_image - len(positive), stream)
    chosen = torch.zeros((2, len(labels)), dtype=torch.bool, device=labels.device)
    chosen[0, positive] = True
    chosen[1, negative] = True
    return chosen[0], chosen[1]


def proposals_and_losses(
    rpn: RegionProposalNetwork,
    images: ImageList,
    features: dict[str, Tensor],
    targets: Sequence[dict[str, Tensor]],
    streams: Sequence[Generator],
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """A training step of the region proposal network. features: of the levels that propose.

    Returns each image's proposals, (P, 4) xyxy px, and the losses by name.
    """
    levels = list(features.values())
    per_level, offsets_per_level = rpn.head(levels)
    anchors = rpn.anchor_generator(images, levels)
    counts = [level[0].numel() for level in per_level]
    objectness, offsets = concat_box_prediction_layers(per_level, offsets_per_level)
    decoded = rpn.box_coder.decode(offsets.detach(), anchors).view(len(anchors), -1, 4)
    proposals, _ = rpn.filter_proposals(decoded, objectness, images.image_sizes, counts)

    labels, matched_boxes = rpn.assign_targets_to_anchors(anchors, targets)
    wanted = torch.cat(rpn.box_coder.encode(matched_boxes, anchors))
    masks = [draw_balanced(own, rpn.fg_bg_sampler, s) for own, s in zip(labels, streams, strict=True)]
    positive, negative = (torch.where(torch.cat(kind))[0] for kind in zip(*masks, strict=True))
    chosen = torch.cat((positive, negative))
    box_loss = functional.smooth_l1_loss(
        offsets[positive], wanted[positive], beta=BOX_LOSS_BETA, reduction="sum"
    )
    objectness_loss = functional.binary_cross_entropy_with_logits(
        objectness.flatten()[chosen], torch.cat(labels)[chosen]
    )
    return proposals, {"loss_objectness": objectness_loss, "loss_rpn_box_reg": box_loss / len(chosen)}


@dataclass(frozen=True)
class TrainingRegions:
    """Regions that the heads learn from, an entry an image.

    boxes: (R, 4) xyxy px. labels: (R,) category, 0 background. offsets: (R, 4) from the region to the box of
    the object that it covers best, as BoxCoder encodes them.
    """

    boxes: list[Tensor]
    labels: list[Tensor]
    offsets: list[Tensor]


def training_regions(
    heads: RoIHeads,
    proposals: list[Tensor],
    targets: Sequence[dict[str, Tensor]],
    streams: Sequence[Generator],
) -> TrainingRegions:
    """Of the proposals and the true boxes of each image, the regions that its step learns from."""
    true = [t["boxes"].to(proposals[0].dtype) for t in targets]
    candidates = heads.add_gt_proposals(proposals, true)
    matched, labels = heads.assign_targets_to_proposals(candidates, true, [t["labels"] for t in targets])
    masks = [draw_balanced(own, heads.fg_bg_sampler, s) for own, s in zip(labels, streams, strict=True)]
    chosen = [torch.where(positive | negative)[0] for positive, negative in masks]
    boxes, labels, matched = (
        [values[at] for values, at in zip(each, chosen, strict=True)]
        for each in (candidates, labels, matched)
    )
    # an image without objects has no box to match; its regions are background, so that any one will do
    matched_boxes = [
        (own if len(own) else own.new_zeros(1, 4))[at] for own, at in zip(true, matched, strict=True)
    ]
    return TrainingRegions(boxes, labels, heads.box_coder.encode(matched_boxes, boxes))
