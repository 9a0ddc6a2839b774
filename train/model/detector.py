"""torchvision's Keypoint R-CNN on a timm backbone, with light heads and sub-pixel decoding.

Images come in at the network's own size (runtime.fit_size); boxes and keypoints are in px of that image.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import KeypointRCNN
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import batched_nms, clip_boxes_to_image

from train.model.heatmaps import (
    calibrated,
    decode_heatmaps,
    heatmap_loss,
    read_where_heatmaps_point,
    visibility_loss,
)
from train.model.sampling import draw_again, proposals_and_losses, shaken, training_regions

READINGS = ((1.0, 0.0, 0.0), (0.75, 0.5, 0.5), (0.5, 0.0, 0.0), (0.25, 0.5, -0.5))
"""Keypoints are read from several regions about a box: how much of what keypoint_reach adds each region is
larger than the box, and by how many of the keypoint head's cells it is shifted to the right and down."""
AGREE_CELLS = 4
"""Readings of a keypoint agree that lie at most so many cells of the widest region from that region's, in x
and in y."""
KEYPOINT_LOSSES = ("loss_keypoint", "loss_visibility")
"""Those of images with labelled keypoints alone."""
VISIBILITY_WEIGHT = 0.2
"""Of loss_visibility among the losses: it is to be learned beside the places, not at their cost."""
STAND_IN_BOX, STAND_IN_SCORE = (0.0, 0.0, 1.0, 1.0), -1.0


class NormalizeOnly(GeneralizedRCNNTransform):  # type: ignore[misc]
    """Normalizes and batches; images were resized before, with their keypoints and an area filter."""

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


class KeypointDetector(KeypointRCNN):  # type: ignore[misc]
    """KeypointRCNN whose heatmaps are trained and decoded more finely than their cells.

    proposal_levels: names of the pyramid's levels that propose regions.
    keypoint_regions: regions an image with objects gives the keypoint head in a training step.
    keypoint_reach: side of the region whose heatmaps are read, as a multiple of the box's longer side;
        1: the box itself.
    calibration: (categories, 2, 2), of each category a heatmaps.Calibration.

    Whether a keypoint is visible is told by maps of the keypoint head's own cells, read where its heatmap
    points to.
    """

    proposal_levels: tuple[str, ...]
    keypoint_regions: int
    keypoint_reach: float
    calibration: Tensor

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """images: (3, H, W) float in [0, 1] each. targets: as of transforms.TrainingImages.

        In training mode the dict of losses; in evaluation mode `find_objects` of each image.
        """
        if self.training:
            return self._losses(images, targets or [])
        return [self.find_objects(image) for image in images]

    def _losses(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Each the mean of its value in every image; KEYPOINT_LOSSES of those with labelled keypoints.

        So a batch's losses are the weighted means of its parts', wherever all images have one size (else they
        are padded to the batch's largest) and enough regions to draw from.
        """
        streams = [torch.Generator().manual_seed(int(t["seed"])) for t in targets]
        batch, targets = self.transform(images, targets)
        features = self.backbone(batch.tensors)
        proposals, losses = proposals_and_losses(self.rpn, batch, self._proposing(features), targets, streams)
        regions = training_regions(self.roi_heads, proposals, targets, streams)
        logits, offsets = self._read_boxes(features, regions.boxes, batch.image_sizes)
        counts = [len(boxes) for boxes in regions.boxes]
        each = zip(
            torch.split(logits, counts),
            torch.split(offsets, counts),
            regions.labels,
            regions.offsets,
            strict=True,
        )
        box_losses = [fastrcnn_loss(c, b, [own], [wanted]) for c, b, own, wanted in each]
        classifier, box_reg = (torch.stack(values).mean() for values in zip(*box_losses, strict=True))
        objects = [
            draw_again(len(t["boxes"]), self.keypoint_regions, stream)
            for t, stream in zip(targets, streams, strict=True)
        ]
        boxes = [
            self.enlarged(shaken(t["boxes"][at], stream))
            for t, at, stream in zip(targets, objects, streams, strict=True)
        ]
        points = [t["keypoints"][at] for t, at in zip(targets, objects, strict=True)]
        maps, visibility = self._read_keypoints(features, boxes, batch.image_sizes)

        def over_images(loss: Callable[[Tensor, Tensor, Tensor], Tensor], values: Tensor) -> Tensor:
            each = zip(torch.split(values.float(), [len(b) for b in boxes]), boxes, points, strict=True)
            return torch.stack([loss(*image) for image in each]).sum() / max(with_keypoints(targets), 1)

        return {
            "loss_classifier": classifier,
            "loss_box_reg": box_reg,
            "loss_keypoint": over_images(heatmap_loss, maps),
            "loss_visibility": VISIBILITY_WEIGHT * over_images(visibility_loss, visibility),
            **losses,
        }

    def find_objects(self, image: Tensor) -> dict[str, Tensor]:
        """What is in one image, (3, H, W) float in [0, 1], best boxes first.

        Returns boxes (N, 4) xyxy px, scores (N,), labels (N,) from 1, keypoints (N, K, 3) x, y px and 1,
        keypoints_scores and keypoints_visibility (N, K) in [0, 1]: how likely each is right, and is visible.

        The function is traced for exported files, so no step may depend on how many objects there are: a box
        that stands for nothing keeps every tensor from being empty. Its score marks it, and it goes last.
        """
        heads = self.roi_heads
        batch, _ = self.transform([image])
        features = self.backbone(batch.tensors)
        proposals, _ = self.rpn(batch, self._proposing(features))
        sizes = batch.image_sizes
        logits, offsets = self._read_boxes(features, proposals, sizes)
        found = heads.postprocess_detections(logits, offsets, proposals, sizes)
        boxes, scores, labels = (kind[0] for kind in found)
        boxes = torch.cat((boxes, boxes.new_tensor([STAND_IN_BOX])))
        scores = torch.cat((scores, scores.new_tensor([STAND_IN_SCORE])))
        labels = torch.cat((labels, labels.new_tensor([1])))
        boxes, scores, labels = self.refitted(features, boxes, scores, labels, sizes[0])

        regions = self.reading_regions(boxes)
        maps, visibility = self._read_keypoints(features, [regions], sizes)
        keypoints, confidence, visibility = self.merged_readings(maps, visibility.sigmoid(), regions)
        calibration = self.calibration[labels - 1]
        result = {
            "boxes": boxes,
            "scores": scores,
            "labels": labels,
            "keypoints": keypoints,
            "keypoints_scores": calibrated(confidence, calibration[:, 0]),
            "keypoints_visibility": calibrated(visibility, calibration[:, 1]),
        }
        real = torch.where(scores > STAND_IN_SCORE)[0]
        return {name: values[real] for name, values in result.items()}

    def refitted(
        self,
        features: dict[str, Tensor],
        boxes: Tensor,
        scores: Tensor,
        labels: Tensor,
        size: tuple[int, int],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The box head once more, on its own boxes (N, 4) of one image: they come to fit better, and those
        that come to cover the same object are suppressed but for the best.

        scores, labels: (N,), N at least 1. size: height and width of the image in px.
        """
        heads = self.roi_heads
        _, offsets = self._read_boxes(features, [boxes], [size])
        per_label = heads.box_coder.decode(offsets, [boxes])
        own = per_label.gather(1, labels[:, None, None].expand(-1, 1, 4))[:, 0]
        boxes = clip_boxes_to_image(own, size)
        keep = batched_nms(boxes, scores, labels, heads.nms_thresh)
        return boxes[keep], scores[keep], labels[keep]

    def _proposing(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: features[name] for name in self.proposal_levels}

    def _read_boxes(
        self, features: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Class logits (R, classes) and box offsets (R, 4 classes) of all images' regions."""
        heads = self.roi_heads
        logits, offsets = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, boxes, sizes)))
        return logits, offsets

    def _read_keypoints(
        self, features: dict[str, Tensor], regions: list[Tensor], sizes: list[tuple[int, int]]
    ) -> tuple[Tensor, Tensor]:
        """Heatmaps' logits (R, K, S, S) of all images' regions, and logits (R, K) of being visible."""
        heads = self.roi_heads
        cells = heads.keypoint_head(heads.keypoint_roi_pool(features, regions, sizes))
        maps: Tensor = heads.keypoint_predictor(cells)
        return maps, read_where_heatmaps_point(heads.visibility_predictor(cells), maps)

    def enlarged(self, boxes: Tensor, share: float = 1.0) -> Tensor:
        """Squares about boxes (N, 4), larger than their longer sides: keypoints at an object's ends lie at
        its box's edge, and what tells look-alike ones apart are angles, which a stretched region changes.
        The boxes themselves with a keypoint_reach of 1, as torchvision's heads are trained.

        share: of what keypoint_reach adds.
        """
        if self.keypoint_reach == 1:
            return boxes
        side = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True)
        half = (1 + share * (self.keypoint_reach - 1)) / 2 * side
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        return torch.cat((centre - half, centre + half), dim=1)

    def reading_regions(self, boxes: Tensor) -> Tensor:
        """(R, 4) regions from which the keypoints of boxes (N, 4) are read: those of READINGS for the first
        box, the widest first, then for the next; the boxes themselves with a keypoint_reach of 1."""
        if self.keypoint_reach == 1:
            return boxes
        cells = self.roi_heads.keypoint_roi_pool.output_size[0]
        found = []
        for share, right, down in READINGS:
            region = self.enlarged(boxes, share)
            shift = (region[:, 2:] - region[:, :2]) / cells * region.new_tensor([right, down])
            found.append(region + shift.repeat(1, 2))
        return torch.stack(found, dim=1).flatten(0, 1)

    def merged_readings(
        self, maps: Tensor, visibility: Tensor, regions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keypoints from heatmaps (R, K, S, S) and visibilities (R, K) of `reading_regions` (R, 4).

        Returns keypoints (N, K, 3), each the mean of the readings that agree with the widest region's, which
        holds what the box may have cut off; and the confidence and visibility (N, K) of that region's
        reading.
        """
        keypoints, confidence = decode_heatmaps(maps, regions)
        if self.keypoint_reach == 1:
            return keypoints, confidence, visibility
        count = len(READINGS)
        readings = torch.stack([keypoints[i::count] for i in range(count)], dim=1)
        agree_px = AGREE_CELLS * (regions[::count, 2:] - regions[::count, :2]) / maps.shape[-1]
        near = (readings - readings[:, :1])[..., :2].abs() <= agree_px[:, None, None]
        agree = near.all(dim=3, keepdim=True).to(readings.dtype)
        merged = (readings * agree).sum(dim=1) / agree.sum(dim=1)
        return merged, confidence[::count], visibility[::count]


def with_keypoints(targets: list[dict[str, Tensor]]) -> int:
    """How many images have labelled keypoints."""
    return sum(bool((t["keypoints"][..., 2] > 0).any()) for t in targets)
