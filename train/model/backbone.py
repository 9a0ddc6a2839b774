"""timm's backbones as a feature pyramid."""

import logging
import math
from collections import OrderedDict

import timm
import torch
from timm.layers.norm_act import FrozenBatchNormAct2d, freeze_batch_norm_2d
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from train.config import ModelConfig
from train.model.weights import load_by_order, vendor_state

log = logging.getLogger(__name__)
TIMM_NAMES = {
    "tf_efficientnet_lite0": "tf_efficientnet_lite0",
    "mobilenet_v2": "mobilenetv2_100",
    "resnet50": "resnet50",
}


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


def load_imagenet(backbone: PyramidBackbone, config: ModelConfig) -> None:
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
