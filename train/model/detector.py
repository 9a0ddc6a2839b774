"""torchvision's Keypoint R-CNN on a timm backbone, with light heads and sub-pixel decoding.

Images come in at the network's own size (transforms.fit_size); boxes and keypoints are in px of that image.
"""

from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import KeypointRCNN
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import batched_nms, clip_boxes_to_image

from train.model.heatmaps import calibrated, decode_heatmaps, heatmap_loss

READINGS = ((1.0, 0.0, 0.0), (0.75, 0.5, 0.5), (0.5, 0.0, 0.0), (0.25, 0.5, -0.5))
"""Keypoints are read from several regions about a box: how much of keypoint_reach each reaches beyond it, and
by how many of the keypoint head's cells it is shifted to the right and down."""
AGREE_CELLS = 4
"""Readings of a keypoint agree that lie so near to the widest region's, in cells of that."""


class _SameSize(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Normalizes and batches only: resizing happened before, with the keypoints and an area filter."""

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


class KeypointDetector(KeypointRCNN):  # type: ignore[misc]
    """KeypointRCNN whose heatmaps are trained and decoded below the size of their cells.

    keypoint_regions: regions an image gives the keypoint head in a training step, at most.
    keypoint_reach: side of the region whose heatmaps are read, as a multiple of the box's.
    calibration: (categories, 2), see `calibrated`.
    """

    keypoint_regions: int
    keypoint_reach: float
    calibration: Tensor

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """images: (3, H, W) float in [0, 1] each. targets: as of transforms.TrainingImages.

        Training: returns the dict of losses. Evaluation: for each image boxes (N, 4) xyxy px, labels (N),
        scores (N), keypoints (N, K, 3) with v = 1, keypoints_scores (N, K) in [0, 1].
        """
        if self.training:
            return self._losses(images, targets or [])
        batch, _ = self.transform(images)
        features = self.backbone(batch.tensors)
        proposals, _ = self.rpn(batch, features)
        return self._detect(features, proposals, batch)

    def _losses(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Each the mean of its value in every image; loss_keypoint of those with labelled keypoints.

        So a batch's losses are the weighted means of its parts', wherever all images have one size (else they
        are padded to the batch's largest) and enough regions to sample.
        """
        streams = [torch.Generator().manual_seed(int(t["seed"])) for t in targets]
        self.rpn.fg_bg_sampler.streams = self.roi_heads.fg_bg_sampler.streams = streams
        batch, targets = self.transform(images, targets)
        features = self.backbone(batch.tensors)
        proposals, losses = self.rpn(batch, features, targets)
        heads, sizes = self.roi_heads, batch.image_sizes
        proposals, matched, labels, regression = heads.select_training_samples(proposals, targets)
        class_logits, box_regression = heads.box_predictor(
            heads.box_head(heads.box_roi_pool(features, proposals, sizes))
        )
        counts = [len(p) for p in proposals]
        each = zip(class_logits.split(counts), box_regression.split(counts), labels, regression, strict=True)
        box_losses = [fastrcnn_loss(c, b, [own], [r]) for c, b, own, r in each]
        classifier, box_reg = (torch.stack(values).mean() for values in zip(*box_losses, strict=True))
        positive = [
            drawn(torch.where(c > 0)[0], self.keypoint_regions, stream)
            for c, stream in zip(labels, streams, strict=True)
        ]
        boxes = [self.reach(p[at]) for p, at in zip(proposals, positive, strict=True)]
        points = [t["keypoints"][m[at]] for t, m, at in zip(targets, matched, positive, strict=True)]
        logits = heads.keypoint_predictor(
            heads.keypoint_head(heads.keypoint_roi_pool(features, boxes, sizes))
        )
        maps = logits.float().split([len(b) for b in boxes])
        keypoint = torch.stack([heatmap_loss(*image) for image in zip(maps, boxes, points, strict=True)])
        return {
            "loss_classifier": classifier,
            "loss_box_reg": box_reg,
            "loss_keypoint": keypoint.sum() / max(with_keypoints(targets), 1),
            **losses,
        }

    def _detect(
        self, features: dict[str, Tensor], proposals: list[Tensor], batch: ImageList
    ) -> list[dict[str, Tensor]]:
        heads, sizes = self.roi_heads, batch.image_sizes
        pooled = heads.box_head(heads.box_roi_pool(features, proposals, sizes))
        class_logits, box_regression = heads.box_predictor(pooled)
        boxes, scores, labels = heads.postprocess_detections(class_logits, box_regression, proposals, sizes)
        boxes, scores, labels = self._refine(features, boxes, scores, labels, sizes)
        regions = [self.regions(b) for b in boxes]
        logits = heads.keypoint_predictor(
            heads.keypoint_head(heads.keypoint_roi_pool(features, regions, sizes))
        ).float()
        split = logits.split([len(r) for r in regions])
        result = []
        for b, region, s, c, maps in zip(boxes, regions, scores, labels, split, strict=True):
            keypoints, keypoint_scores = self.read(maps, region)
            result.append(
                {
                    "boxes": b,
                    "scores": s,
                    "labels": c,
                    "keypoints": keypoints,
                    "keypoints_scores": calibrated(keypoint_scores, self.calibration[c - 1]),
                }
            )
        return result

    def reach(self, boxes: Tensor, share: float = 1.0) -> Tensor:
        """(N, 4) boxes enlarged about their centres: keypoints at an object's ends lie at its box's edge.

        share: of what keypoint_reach adds.
        """
        grow = share * (self.keypoint_reach - 1) / 2 * (boxes[:, 2:] - boxes[:, :2])
        return torch.cat((boxes[:, :2] - grow, boxes[:, 2:] + grow), dim=1)

    def regions(self, boxes: Tensor) -> Tensor:
        """(R, 4) from which the keypoints of boxes (N, 4) are read: for each box READINGS, of which the first
        holds what the box cut off; the boxes where none reaches beyond."""
        if self.keypoint_reach == 1:
            return boxes
        cells = self.roi_heads.keypoint_roi_pool.output_size[0]
        found = []
        for share, right, down in READINGS:
            region = self.reach(boxes, share)
            shift = (region[:, 2:] - region[:, :2]) / cells * region.new_tensor([right, down])
            found.append(region + shift.repeat(1, 2))
        return torch.stack(found, dim=1).flatten(0, 1)

    def read(self, logits: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """What heatmaps (R, K, S, S) of `regions` say: keypoints (N, K, 3), the mean of those readings that
        agree with the widest region's, and their confidence (N, K) in that one."""
        keypoints, confidence = decode_heatmaps(logits, regions)
        if self.keypoint_reach == 1:
            return keypoints, confidence
        count = len(READINGS)
        readings = torch.stack([keypoints[i::count] for i in range(count)], dim=1)
        reach_px = AGREE_CELLS * (regions[::count, 2:] - regions[::count, :2]) / logits.shape[-1]
        near = (readings - readings[:, :1])[..., :2].abs() <= reach_px[:, None, None]
        agree = near.all(dim=3, keepdim=True).to(readings.dtype)
        return (readings * agree).sum(dim=1) / agree.sum(dim=1), confidence[::count]

    def _refine(
        self,
        features: dict[str, Tensor],
        boxes: list[Tensor],
        scores: list[Tensor],
        labels: list[Tensor],
        sizes: list[tuple[int, int]],
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """The box head once more, on its own boxes: they come to fit better, and doubles merge."""
        heads = self.roi_heads
        if not sum(len(b) for b in boxes):
            return boxes, scores, labels
        regression = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, boxes, sizes)))[1]
        per_class = heads.box_coder.decode(regression, boxes).split([len(b) for b in boxes])
        refined: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        for candidates, s, c, size in zip(per_class, scores, labels, sizes, strict=True):
            b = clip_boxes_to_image(candidates[torch.arange(len(c), device=c.device), c], size)
            keep = batched_nms(b, s, c, heads.nms_thresh)
            for kept, values in zip(refined, (b, s, c), strict=True):
                kept.append(values[keep])
        return refined


def with_keypoints(targets: list[dict[str, Tensor]]) -> int:
    """How many images have labelled keypoints."""
    return sum(bool((t["keypoints"][..., 2] > 0).any()) for t in targets)


def drawn(candidates: Tensor, count: int, stream: torch.Generator) -> Tensor:
    """`count` of the candidates (N,) at random, or all."""
    order = torch.randperm(len(candidates), generator=stream)[:count]
    return candidates[order.to(candidates.device)]


class RegionSampler(BalancedPositiveNegativeSampler):  # type: ignore[misc]
    """torchvision's, with a random stream for each image: what an image trains on does not depend on the
    images beside it."""

    streams: list[torch.Generator]

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """matched_idxs: (N,) each, >= 1 positive, 0 negative, -1 neither. Returns masks of those chosen."""
        chosen: tuple[list[Tensor], list[Tensor]] = ([], [])
        for labels, stream in zip(matched_idxs, self.streams, strict=True):
            most = int(self.batch_size_per_image * self.positive_fraction)
            positive = drawn(torch.where(labels >= 1)[0], most, stream)
            negative = drawn(torch.where(labels == 0)[0], self.batch_size_per_image - len(positive), stream)
            for masks, at in zip(chosen, (positive, negative), strict=True):
                masks.append(torch.zeros_like(labels, dtype=torch.uint8).index_fill(0, at, 1))
        return chosen
