"""The backbones that come with the service."""

from core.backbones.base import IMAGE_CHANNELS, Backbone
from core.backbones.layers import ConvNorm
from core.backbones.mobilenet import Bottlenecks, MobileNetBackbone
from core.backbones.residual import ResidualBackbone, ResidualStage, Stem

DEEPLAB_RESNET34 = ResidualBackbone(
    "deeplab_resnet34",
    "DeepLab on a dilated ResNet-34",
    stem=Stem(kernel=7, channels=64, stride=2, pool=True),
    stages=(
        ResidualStage(blocks=3, channels=64, stride=1, dilation=1),
        ResidualStage(blocks=4, channels=128, stride=2, dilation=1),
        ResidualStage(blocks=6, channels=256, stride=1, dilation=2),
        ResidualStage(blocks=3, channels=512, stride=1, dilation=4),
    ),
    head="deeplab",
)

SAPLING = ResidualBackbone(
    "sapling",
    "A small residual network for the demo and the tests",
    stem=Stem(kernel=3, channels=16, stride=2, pool=False),
    stages=(
        ResidualStage(blocks=1, channels=24, stride=2, dilation=1),
        ResidualStage(blocks=1, channels=40, stride=1, dilation=1),
        ResidualStage(blocks=1, channels=64, stride=2, dilation=1),
        ResidualStage(blocks=1, channels=64, stride=1, dilation=1),
    ),
    head="sapling",
)

MOBILENET_V2 = MobileNetBackbone(
    "mobilenet_v2",
    "MobileNetV2",
    stem=ConvNorm(IMAGE_CHANNELS, 32, 3, stride=2),
    rows=(
        Bottlenecks(expansion=1, channels=16, units=1, stride=1),
        Bottlenecks(expansion=6, channels=24, units=2, stride=2),
        Bottlenecks(expansion=6, channels=32, units=3, stride=2),
        Bottlenecks(expansion=6, channels=64, units=4, stride=2),
        Bottlenecks(expansion=6, channels=96, units=3, stride=1),
        Bottlenecks(expansion=6, channels=160, units=3, stride=2),
        Bottlenecks(expansion=6, channels=320, units=1, stride=1),
    ),
    features=1280,
    level_sizes=(7, 11, 5, 8, 1),
    head="deeplab",
)

_BUILT_IN: tuple[Backbone, ...] = (DEEPLAB_RESNET34, SAPLING, MOBILENET_V2)

BACKBONES: dict[str, Backbone] = {backbone.name: backbone for backbone in _BUILT_IN}
"""The built-in ones by name; `core.backbones.backbones()` has those of installed packages too."""
