"""torchvision's Keypoint R-CNN on a timm backbone, with light heads and sub-pixel decoding.

Images come in at the network's own size (transforms.fit_size); boxes and keypoints are in px of that image.
"""

import logging
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.layers.norm_act import FrozenBatchNormAct2d, freeze_batch_norm_2d
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization
from torchvision.models.detection import KeypointRCNN
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign, batched_nms, clip_boxes_to_image
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.ops.misc import FrozenBatchNorm2d
from torchvision.ops.poolers import initLevelMapper

from train.config import ModelConfig
from train.weights import State, load_by_order, vendor_state

log = logging.getLogger(__name__)

TIMM_NAMES = {
    "tf_efficientnet_lite0": "tf_efficientnet_lite0",
    "mobilenet_v2": "mobilenetv2_100",
    "resnet50": "resnet50",
}
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HALF = [0.5, 0.5, 0.5]
COCO_KEYPOINTS = 17
Calibration = tuple[float, float]
UNCALIBRATED: Calibration = (1.0, 0.0)
EPSILON = 1e-6
READINGS = ((1.0, 0.0, 0.0), (0.75, 0.5, 0.5), (0.5, 0.0, 0.0), (0.25, 0.5, -0.5))
"""Keypoints are read from several regions about a box: how much of keypoint_reach each reaches beyond it, and
by how many of the keypoint head's cells it is shifted to the right and down."""
AGREE_CELLS = 4
"""Readings of a keypoint agree that lie so near to the widest region's, in cells of that."""


class PyramidBackbone(nn.Module):
    """body: timm features at the given strides, channels_last. fpn: levels named by stride, and 'pool'."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.strides = config.strides
        self.body = timm.create_model(
            TIMM_NAMES[config.backbone],
            features_only=True,
            out_indices=tuple(int(math.log2(stride)) - 1 for stride in config.strides),
        )
        channels: list[int] = self.body.feature_info.channels()  # type: ignore[union-attr, operator]
        self.fpn = FeaturePyramidNetwork(channels, config.fpn_channels, extra_blocks=LastLevelMaxPool())
        self.out_channels = config.fpn_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images: (B, 3, H, W). Returns contiguous maps (B, fpn_channels, H / stride, W / stride)."""
        maps = self.body(images.contiguous(memory_format=torch.channels_last))
        named = OrderedDict((str(stride), m) for stride, m in zip(self.strides, maps, strict=True))
        return {name: level.contiguous() for name, level in self.fpn(named).items()}


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


def heatmap_loss(logits: Tensor, boxes: Tensor, keypoints: Tensor) -> Tensor:
    """Cross-entropy against a target of mean at the true place: shared by the four cells around it.

    logits: (N, K, S, S), laid out as in decode_heatmaps. boxes: (N, 4) xyxy px. keypoints: (N, K, 3) px;
    those with v = 0 or outside their box do not count. Returns their mean, 0 if there are none.
    """
    size = logits.shape[-1]
    cells = (keypoints[..., :2] - boxes[:, None, :2]) / (boxes[:, None, 2:] - boxes[:, None, :2]) * size
    counts = (keypoints[..., 2] > 0) & (cells >= 0).all(dim=2) & (cells <= size).all(dim=2)
    if not bool(counts.any()):
        return logits.sum() * 0
    place = (cells[counts] - 0.5).clamp(0, size - 1)
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


def decode_heatmaps(logits: Tensor, boxes: Tensor, radius: int = 2) -> tuple[Tensor, Tensor]:
    """Keypoints from heatmaps, finer than their cells.

    logits: (N, K, S, S), of which cell (i, j) covers [j, j + 1) x [i, i + 1) of the box cut into S x S parts
    (as torchvision encodes its targets). boxes: (N, 4) xyxy. Returns keypoints (N, K, 3) x, y, 1 in the
    boxes' px: the probability-weighted mean of cell centres within `radius` cells of the peak; and the
    probability found there, (N, K) in [0, 1].
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


def calibrated(confidence: Tensor, calibration: Tensor) -> Tensor:
    """How likely a keypoint is right: logistic function of slope * logit(confidence) + offset (Platt, 1999).

    confidence: (N, K) in [0, 1]. calibration: (N, 2) slope and offset.
    """
    slope, offset = calibration[:, :1], calibration[:, 1:]
    p = confidence.clamp(EPSILON, 1 - EPSILON)
    return torch.sigmoid(slope * torch.log(p / (1 - p)) + offset)


def build_model(
    config: ModelConfig, num_classes: int, num_keypoints: int, vendor: bool = True
) -> KeypointDetector:
    """num_classes: background included. num_keypoints: K.

    vendor=False leaves out the vendor's weights, for a network about to be loaded from a snapshot.
    Raises EnvironmentProblem if the weights cannot be had.
    """
    weights = config.weights if vendor else "none"
    coco = weights == "coco"
    model = _assemble(config, 2 if coco else num_classes, COCO_KEYPOINTS if coco else num_keypoints)
    if coco:
        load_coco(model, vendor_state(config.backbone, "coco", config.weights_file))
        replace_predictors(model, num_classes, num_keypoints)
    elif weights == "imagenet":
        _load_imagenet(model.backbone, config)
    freeze(model.backbone.body, config)
    if config.weights == "coco":  # whose norms have no eps, as torchvision's overwrite_eps says
        for module in model.backbone.body.modules():
            if isinstance(module, (FrozenBatchNorm2d, FrozenBatchNormAct2d)):
                module.eps = 0.0
    fold(model.backbone.body)
    model.backbone.body.to(memory_format=torch.channels_last)
    uncalibrated = torch.tensor([UNCALIBRATED] * (num_classes - 1))
    model.register_buffer("calibration", uncalibrated, persistent=False)
    return model


def _in_single_precision(_: nn.Module, __: Any, levels: tuple[list[Tensor], ...]) -> tuple[list[Tensor], ...]:
    """torchvision rounds proposals, and then the true boxes, to the type of what the proposing head says: in
    bfloat16 to 4 px and more."""
    return tuple([level.float() for level in kind] for kind in levels)


def _pool(strides: Sequence[int], output_size: int, canonical_px: int = 224) -> MultiScaleRoIAlign:
    """Cuts regions from the maps of those strides. torchvision would guess these from the first picture,
    wrongly from a flat one, and keep them."""
    pool = MultiScaleRoIAlign([str(s) for s in strides], output_size, 2, canonical_scale=canonical_px)
    pool.scales = [1 / stride for stride in strides]
    finest, coarsest = (int(math.log2(stride)) for stride in (strides[0], strides[-1]))
    pool.map_levels = initLevelMapper(finest, coarsest, canonical_scale=canonical_px)
    return pool


def _assemble(config: ModelConfig, num_classes: int, num_keypoints: int) -> KeypointDetector:
    backbone = PyramidBackbone(config)
    channels = config.keypoint_head_channels
    lite = config.backbone == "tf_efficientnet_lite0"
    model = KeypointDetector(
        backbone,
        rpn_anchor_generator=AnchorGenerator(
            config.anchor_sizes, (config.anchor_ratios,) * len(config.anchor_sizes)
        ),
        rpn_pre_nms_top_n_train=config.rpn_pre_nms,
        rpn_pre_nms_top_n_test=config.rpn_pre_nms,
        rpn_post_nms_top_n_train=config.rpn_post_nms,
        rpn_post_nms_top_n_test=config.rpn_post_nms,
        rpn_batch_size_per_image=config.rpn_regions,
        box_roi_pool=_pool(config.strides, output_size=7),
        box_head=TwoMLPHead(config.fpn_channels * 49, config.box_head_channels),
        box_predictor=FastRCNNPredictor(config.box_head_channels, num_classes),
        box_score_thresh=config.score_threshold,
        box_nms_thresh=config.box_nms,
        box_detections_per_img=config.detections,
        box_batch_size_per_image=config.regions,
        box_positive_fraction=config.positive_share,
        keypoint_roi_pool=_pool(config.strides, config.keypoint_cells, config.keypoint_canonical_px),
        keypoint_head=KeypointRCNNHeads(config.fpn_channels, (channels,) * config.keypoint_head_layers),
        keypoint_predictor=KeypointRCNNPredictor(channels, num_keypoints),
    )
    model.rpn.head.register_forward_hook(_in_single_precision)
    mean, std = (HALF, HALF) if lite else (IMAGENET_MEAN, IMAGENET_STD)
    model.keypoint_regions, model.keypoint_reach = config.keypoint_regions, config.keypoint_reach
    for part in (model.rpn, model.roi_heads):
        sampler = part.fg_bg_sampler
        part.fg_bg_sampler = RegionSampler(sampler.batch_size_per_image, sampler.positive_fraction)
    model.transform = _SameSize(config.long_side_px, config.long_side_px, mean, std)
    if config.proposal_strides != config.strides:
        proposing = [*(str(stride) for stride in config.proposal_strides), "pool"]

        def only_proposing(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            images, features, *rest = args
            return (images, {name: features[name] for name in proposing}, *rest)

        model.rpn.register_forward_pre_hook(only_proposing)
    return model


def replace_predictors(model: KeypointDetector, num_classes: int, num_keypoints: int) -> None:
    """Fresh box and keypoint predictors; every tensor of the old ones is logged as skipped."""
    heads = model.roi_heads
    for name in ("box_predictor", "keypoint_predictor"):
        for key, tensor in getattr(heads, name).state_dict().items():
            log.info("skipped roi_heads.%s.%s %s of the vendor's weights", name, key, tuple(tensor.shape))
    heads.box_predictor = FastRCNNPredictor(heads.box_predictor.cls_score.in_features, num_classes)
    heads.keypoint_predictor = KeypointRCNNPredictor(
        heads.keypoint_predictor.kps_score_lowres.in_channels, num_keypoints
    )


def load_coco(model: KeypointDetector, state: State) -> None:
    """Loads torchvision's keypointrcnn_resnet50_fpn tensors; ours carry the same names but norm counters."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    for key in unexpected:
        log.info("skipped %s of the vendor's weights", key)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(f"COCO weights lack {missing}; the heads must have torchvision's default sizes")


def _load_imagenet(backbone: PyramidBackbone, config: ModelConfig) -> None:
    whole = timm.create_model(TIMM_NAMES[config.backbone])
    vendor = vendor_state(config.backbone, "imagenet", config.weights_file)
    if config.backbone == "resnet50":
        vendor = {key: vendor[key] for key in whole.state_dict() if key in vendor}
    state = load_by_order(whole.state_dict(), vendor, f"{config.backbone} weights")
    missing, unexpected = backbone.body.load_state_dict(state, strict=False)
    log.info("backbone: skipped %s of the vendor's weights", ", ".join(unexpected))
    if missing:
        raise ValueError(f"ImageNet weights lack {missing}")


def freeze(body: nn.Module, config: ModelConfig) -> None:
    """Freezes all but the last trainable_stages of the backbone; frozen stages keep frozen norms too."""
    parts = stages(body)
    for index, names in enumerate(parts):
        trains = index >= len(parts) - config.trainable_stages
        for name in names:
            module = body.get_submodule(name)
            module.requires_grad_(trains)
            if config.frozen_norm or not trains:
                frozen = freeze_batch_norm_2d(module)  # type: ignore[no-untyped-call]
                if frozen is not module:
                    body.set_submodule(name, frozen)


class _Scaled(nn.Module):
    """A convolution's weights times the scale of the norm behind it, (out_channels,)."""

    scale: Tensor

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.view(-1, 1, 1, 1))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.scale


def fold(body: nn.Module) -> None:
    """Makes frozen norms part of the convolutions before them: the same function and the same gradients of
    the weights, but two passes less over each map."""
    before = nn.Module()
    for name, module in list(body.named_modules()):
        if isinstance(module, FrozenBatchNormAct2d) and isinstance(before, nn.Conv2d):
            norm = module.state_dict()
            scale = norm["weight"] * (norm["running_var"] + module.eps).rsqrt()
            shift = norm["bias"] - norm["running_mean"] * scale
            before.bias = nn.Parameter(shift, requires_grad=False)
            register_parametrization(before, "weight", _Scaled(scale))
            body.set_submodule(name, nn.Sequential(module.drop, module.act))
        if isinstance(module, (nn.Conv2d, FrozenBatchNormAct2d)):
            before = module


def stages(body: nn.Module) -> list[tuple[str, ...]]:
    """Submodule names of the backbone's stages from the input: the stem first."""
    blocks = getattr(body, "blocks", None)
    if isinstance(blocks, nn.Sequential):
        return [("conv_stem", "bn1"), *((f"blocks.{i}",) for i in range(len(blocks)))]
    return [("conv1", "bn1"), *((f"layer{i}",) for i in range(1, 5))]


def parameter_groups(
    model: nn.Module, backbone_lr: float, head_lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Trained parameters for AdamW: backbone and heads with their own rate; no decay on vectors."""
    groups = []
    for lr, inside in ((backbone_lr, True), (head_lr, False)):
        for decay, matrices in ((weight_decay, True), (0.0, False)):
            chosen = [
                p
                for name, p in model.named_parameters()
                if p.requires_grad
                and name.startswith("backbone.body.") == inside
                and (p.ndim > 1) == matrices
            ]
            if chosen:
                groups.append({"params": chosen, "lr": lr, "weight_decay": decay})
    return groups
