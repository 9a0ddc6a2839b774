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

from train.backbones import BACKBONES
from train.config import ModelConfig
from train.model.weights import pair_by_order, vendor_state

log = logging.getLogger(__name__)


class PyramidBackbone(nn.Module):
    """timm's features at the config's strides, made a feature pyramid (Lin and others, CVPR 2017).

    body: timm's network, in channels_last memory order. fpn: its levels are named by their stride ("4" to
    "32"); a last one, "pool", is the coarsest at half its size.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.strides = config.strides
        self.body = timm.create_model(
            BACKBONES[config.backbone].timm_name,
            features_only=True,
            out_indices=tuple(int(math.log2(stride)) - 1 for stride in config.strides),
        )
        strides: list[int] = self.body.feature_info.reduction()  # type: ignore[union-attr, operator]
        if strides != list(config.strides):
            raise ValueError(f"{config.backbone} gives features at strides {strides}, not {config.strides}")
        channels: list[int] = self.body.feature_info.channels()  # type: ignore[union-attr, operator]
        self.fpn = FeaturePyramidNetwork(channels, config.fpn_channels, extra_blocks=LastLevelMaxPool())
        self.out_channels = config.fpn_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images: (B, 3, H, W). Returns contiguous maps (B, fpn_channels, H / stride, W / stride)."""
        maps = self.body(images.contiguous(memory_format=torch.channels_last))
        named = OrderedDict((str(stride), m) for stride, m in zip(self.strides, maps, strict=True))
        return {name: level.contiguous() for name, level in self.fpn(named).items()}


def load_imagenet(backbone: PyramidBackbone, config: ModelConfig) -> None:
    """Fills the body with the vendor's ImageNet weights; those of the classifier are logged as skipped.

    Raises EnvironmentProblem if the file cannot be had or is not one of this network.
    """
    spec = BACKBONES[config.backbone]
    own = timm.create_model(spec.timm_name).state_dict()
    file = spec.vendor_files["imagenet"]
    vendor = vendor_state(file, config.weights_file)
    if not file.in_order:
        vendor = {key: vendor[key] for key in own if key in vendor}
    state = pair_by_order(own, vendor, f"{config.backbone} weights")
    missing, unexpected = backbone.body.load_state_dict(state, strict=False)
    log.info("backbone: skipped %s of the vendor's weights", ", ".join(unexpected))
    if missing:
        raise ValueError(f"ImageNet weights lack {missing}")


def freeze(body: nn.Module, config: ModelConfig) -> None:
    """Freezes all but the last trainable_stages of the backbone; frozen stages keep frozen norms too.

    Stages behind the coarsest of the config's strides do not count: timm leaves them out.
    """
    there = dict(body.named_modules())
    stages = [names for names in BACKBONES[config.backbone].stages if names[0] in there]
    for index, names in enumerate(stages):
        trains = index >= len(stages) - config.trainable_stages
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
    """Makes each frozen norm part of the convolution before it.

    The network stays the same function with the same gradients of its weights, and is faster: a norm of its
    own reads and writes the whole map once more.
    """
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
