"""A detector from its config and the vendor's weights."""

import logging
import math
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import torch
from timm.layers.norm_act import FrozenBatchNormAct2d
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.misc import FrozenBatchNorm2d
from torchvision.ops.poolers import initLevelMapper

from train.backbones import BACKBONES
from train.config import ModelConfig
from train.model.backbone import PyramidBackbone, fold, freeze, load_imagenet
from train.model.detector import KeypointDetector, NormalizeOnly
from train.model.heatmaps import UNCALIBRATED
from train.model.weights import State, vendor_state

log = logging.getLogger(__name__)
COCO_KEYPOINTS = 17


def build_model(
    config: ModelConfig, num_classes: int, num_keypoints: int, vendor: bool = True
) -> KeypointDetector:
    """A detector at its start, in training mode on the CPU.

    num_classes: background included. num_keypoints: K. vendor: the network starts from the weights that the
    config names; False leaves them out, for a network about to be loaded from a snapshot.
    Raises EnvironmentProblem if the weights cannot be had.
    """
    weights = config.weights if vendor else "none"
    files = BACKBONES[config.backbone].vendor_files
    coco = weights == "coco"
    model = _assemble(config, 2 if coco else num_classes, COCO_KEYPOINTS if coco else num_keypoints)
    if coco:
        load_coco(model, vendor_state(files["coco"], config.weights_file))
        replace_predictors(model, num_classes, num_keypoints)
    elif weights == "imagenet":
        load_imagenet(model.backbone, config)
    model.roi_heads.visibility_predictor = nn.Conv2d(config.keypoint_head_channels, num_keypoints, 1)
    freeze(model.backbone.body, config)
    if config.weights in files and (eps := files[config.weights].norm_eps) is not None:
        for module in model.backbone.body.modules():
            if isinstance(module, (FrozenBatchNorm2d, FrozenBatchNormAct2d)):
                module.eps = eps
    fold(model.backbone.body)
    model.backbone.body.to(memory_format=torch.channels_last)
    uncalibrated = torch.tensor([UNCALIBRATED] * (num_classes - 1))
    model.register_buffer("calibration", uncalibrated, persistent=False)
    return model


def _in_single_precision(_: nn.Module, __: Any, levels: tuple[list[Tensor], ...]) -> tuple[list[Tensor], ...]:
    """A hook that makes the proposing head answer in float32.

    torchvision gives proposals, and then the true boxes too, the type of that head's answer; in bfloat16,
    with mixed precision, a coordinate of 1000 px is rounded to a multiple of 4 px.
    """
    return tuple([level.float() for level in kind] for kind in levels)


def _pool(strides: Sequence[int], output_size: int, canonical_px: int = 224) -> MultiScaleRoIAlign:
    """Cuts regions from the maps of those strides: a box with sides of canonical_px from the map of stride
    16, one of twice that from the map of stride 32, and so on, as far as there are maps (Lin and others,
    2017).

    The maps' scales are set here: torchvision would guess them from the first picture, wrongly from a very
    flat one, and keep them.
    """
    pool = MultiScaleRoIAlign([str(s) for s in strides], output_size, 2, canonical_scale=canonical_px)
    pool.scales = [1 / stride for stride in strides]
    finest, coarsest = (int(math.log2(stride)) for stride in (strides[0], strides[-1]))
    pool.map_levels = initLevelMapper(finest, coarsest, canonical_scale=canonical_px)
    return pool


def _assemble(config: ModelConfig, num_classes: int, num_keypoints: int) -> KeypointDetector:
    backbone = PyramidBackbone(config)
    channels = config.keypoint_head_channels
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
        keypoint_predictor=keypoint_predictor(channels, num_keypoints),
    )
    layers = [m for m in model.roi_heads.keypoint_head if isinstance(m, nn.Conv2d)]
    for layer, dilation in zip(layers, cycle(config.keypoint_head_dilations), strict=False):
        layer.dilation = layer.padding = (dilation, dilation)
        layer.reset_parameters()
    model.rpn.head.register_forward_hook(_in_single_precision)
    spec = BACKBONES[config.backbone]
    model.proposal_levels = (*map(str, config.proposal_strides), "pool")
    model.keypoint_regions, model.keypoint_reach = config.keypoint_regions, config.keypoint_reach
    model.transform = NormalizeOnly(config.long_side_px, config.long_side_px, list(spec.mean), list(spec.std))
    return model


def keypoint_predictor(channels: int, num_keypoints: int) -> KeypointRCNNPredictor:
    """torchvision's, but with the smaller weights that PyTorch starts such a layer with: with torchvision's
    own, keypoints are told apart many steps later. So are the keypoint head's layers."""
    predictor = KeypointRCNNPredictor(channels, num_keypoints)
    predictor.kps_score_lowres.reset_parameters()
    return predictor


def replace_predictors(model: KeypointDetector, num_classes: int, num_keypoints: int) -> None:
    """Gives the network fresh box and keypoint predictors; every tensor of the old ones is logged as
    skipped."""
    heads = model.roi_heads
    for name in ("box_predictor", "keypoint_predictor"):
        for key, tensor in getattr(heads, name).state_dict().items():
            log.info("skipped roi_heads.%s.%s %s of the vendor's weights", name, key, tuple(tensor.shape))
    heads.box_predictor = FastRCNNPredictor(heads.box_predictor.cls_score.in_features, num_classes)
    heads.keypoint_predictor = keypoint_predictor(
        heads.keypoint_predictor.kps_score_lowres.in_channels, num_keypoints
    )


def load_coco(model: KeypointDetector, state: State) -> None:
    """Loads the tensors of torchvision's keypointrcnn_resnet50_fpn, whose names are ours.

    Raises ValueError if the network has others; the norms' counters of batches and what tells visibility,
    which only ours has, may lack.
    """
    missing, unexpected = model.load_state_dict(state, strict=False)
    for key in unexpected:
        log.info("skipped %s of the vendor's weights", key)
    ours = ("num_batches_tracked", "visibility_predictor.weight", "visibility_predictor.bias")
    missing = [key for key in missing if not key.endswith(ours)]
    if missing:
        raise ValueError(f"COCO weights lack {missing}; the heads must have torchvision's default sizes")


def parameter_groups(
    model: nn.Module, backbone_lr: float, head_lr: float, weight_decay: float
) -> list[dict[str, Any]]:
    """The parameters that train, in groups for AdamW.

    The backbone and the heads have learning rates of their own; biases and norms, which are vectors, have no
    weight decay.
    """
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
