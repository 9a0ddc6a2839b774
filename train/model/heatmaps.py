"""Keypoints from heatmaps, finer than their cells, how sure they are, and whether they are seen."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from synth.types import NOT_LABELLED, VISIBLE

EPSILON = 1e-6


class Calibration(NamedTuple):
    """Slope and offset, see `calibrated`, of an object's keypoints' confidence and of their visibility."""

    confidence: tuple[float, float]
    visibility: tuple[float, float]


UNCALIBRATED = Calibration((1.0, 0.0), (1.0, 0.0))


def heatmap_loss(logits: Tensor, boxes: Tensor, keypoints: Tensor) -> Tensor:
    """Cross-entropy of heatmaps against the true places, () float.

    A true place rarely is a cell's centre, so its target is shared by the four cells whose centres are around
    it, as in bilinear interpolation: the mean of that distribution is the true place itself.

    logits: (N, K, S, S), laid out as in decode_heatmaps. boxes: (N, 4) xyxy px. keypoints: (N, K, 3) x, y px,
    v. Returns the mean over keypoints with v > 0 that lie inside their box, 0 if there are none.
    """
    size = logits.shape[-1]
    places, counts = _places_in_boxes(keypoints, boxes)
    if not bool(counts.any()):
        return logits.sum() * 0
    place = (places[counts] * size - 0.5).clamp(0, size - 1)
    low = place.floor().clamp(max=size - 2)
    high_share = place - low
    x, y = low.long().unbind(dim=1)
    log_probability = logits[counts].flatten(1).log_softmax(dim=1)
    total = logits.new_zeros(len(x))
    for dx in (0, 1):
        for dy in (0, 1):
            share = (high_share[:, 0] if dx else 1 - high_share[:, 0]) * (
                high_share[:, 1] if dy else 1 - high_share[:, 1]
            )
            at = (y + dy) * size + x + dx
            total -= share * log_probability.gather(1, at[:, None])[:, 0]
    return total.mean()


def visibility_loss(logits: Tensor, boxes: Tensor, keypoints: Tensor) -> Tensor:
    """Binary cross-entropy of whether keypoints are visible or hidden, () float.

    logits: (N, K). boxes, keypoints, and which keypoints count: as in heatmap_loss.
    """
    _, counts = _places_in_boxes(keypoints, boxes)
    if not bool(counts.any()):
        return logits.sum() * 0
    visible = (keypoints[..., 2] == VISIBLE).to(logits.dtype)
    return functional.binary_cross_entropy_with_logits(logits[counts], visible[counts])


def _places_in_boxes(keypoints: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Where keypoints (N, K, 3) lie in their boxes (N, 4), as shares (N, K, 2) of width and height; and which
    of them (N, K) are labelled and lie inside."""
    places = (keypoints[..., :2] - boxes[:, None, :2]) / (boxes[:, None, 2:] - boxes[:, None, :2])
    inside = ((places >= 0) & (places <= 1)).all(dim=2)
    return places, inside & (keypoints[..., 2] > NOT_LABELLED)


def read_where_heatmaps_point(maps: Tensor, heatmaps: Tensor) -> Tensor:
    """(N, K): the mean of each map, weighted by the probability that its heatmap gives to every cell.

    maps: (N, K, C, C). heatmaps: (N, K, S, S) logits of the same regions, S a multiple of C; no gradient
    reaches them, so that learning what stands at a place does not move the place.
    """
    finer = heatmaps.shape[-1] // maps.shape[-1]
    probability = heatmaps.detach().flatten(2).softmax(dim=2).view(heatmaps.shape)
    return (maps * functional.avg_pool2d(probability, finer)).sum(dim=(2, 3)) * finer**2


def decode_heatmaps(logits: Tensor, boxes: Tensor, radius: int = 2) -> tuple[Tensor, Tensor]:
    """Keypoints from heatmaps, finer than their cells.

    logits: (N, K, S, S). The box is cut into S x S cells; the logit in row i and column j is of the cell in
    the box's i-th row and j-th column, as torchvision encodes its targets. boxes: (N, 4) xyxy px.

    Returns keypoints (N, K, 3) x, y px, 1, and their confidence (N, K) in [0, 1]. A keypoint is the mean of
    the centres of the cells within `radius` rows and columns of the most probable cell, weighted by their
    probability; its confidence is the sum of these probabilities.
    """
    n, k, size, _ = logits.shape
    if n == 0:
        return logits.new_zeros((0, k, 3)), logits.new_zeros((0, k))
    probability = logits.flatten(2).softmax(dim=2)
    peak = probability.argmax(dim=2)
    cells = torch.arange(size, device=logits.device)
    near_y = ((cells - (peak // size)[..., None]).abs() <= radius).to(logits.dtype)
    near_x = ((cells - (peak % size)[..., None]).abs() <= radius).to(logits.dtype)
    window = probability.view(n, k, size, size) * near_y[..., :, None] * near_x[..., None, :]
    mass = window.sum(dim=(2, 3))
    centres = cells.to(logits.dtype) + 0.5
    x = (window.sum(dim=2) * centres).sum(dim=2) / mass
    y = (window.sum(dim=3) * centres).sum(dim=2) / mass
    cell_px = ((boxes[:, 2:] - boxes[:, :2]) / size)[:, None, :]
    xy = torch.stack((x, y), dim=2) * cell_px + boxes[:, None, :2]
    return torch.cat((xy, torch.ones_like(xy[..., :1])), dim=2), mass


def calibrated(probability: Tensor, calibration: Tensor) -> Tensor:
    """How likely a keypoint is right, or visible, (N, K): the logistic function of
    slope * logit(probability) + offset.

    Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999.

    probability: (N, K) in [0, 1], as the network says it. calibration: (N, 2) slope and offset.
    """
    slope, offset = calibration[:, :1], calibration[:, 1:]
    p = probability.clamp(EPSILON, 1 - EPSILON)
    return torch.sigmoid(slope * torch.log(p / (1 - p)) + offset)
