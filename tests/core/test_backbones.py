"""Backbones as data: their shape and the parameter counts that follow."""

from math import prod

import pytest

from core.backbones import (
    BACKBONES,
    Backbone,
    MobileNetBackbone,
    ResidualBackbone,
    ResidualBlock,
    ResidualStage,
    Stem,
    backbone,
    backbones,
    canonical_reference,
)
from core.errors import InvalidError

RESIDUAL = ("deeplab_resnet34", "sapling")


def residual(name: str) -> ResidualBackbone:
    found = backbone(name)
    assert isinstance(found, ResidualBackbone)
    return found


@pytest.fixture
def mobilenet() -> MobileNetBackbone:
    found = backbone("mobilenet_v2")
    assert isinstance(found, MobileNetBackbone)
    return found


def test_deeplab_resnet34_has_the_papers_count_with_one_parameter_per_batch_norm_channel() -> None:
    assert round(sum(backbone("deeplab_resnet34").level_parameters("paper")) / 1e6, 3) == 21.276


def test_deeplab_resnet34_has_torchs_count_with_two_parameters_per_batch_norm_channel() -> None:
    assert sum(backbone("deeplab_resnet34").level_parameters("torch")) == 21_284_672


def test_the_papers_convention_is_the_default() -> None:
    deeplab = backbone("deeplab_resnet34")
    assert deeplab.level_parameters() == deeplab.level_parameters("paper")


def test_deeplab_resnet34_is_a_stem_and_sixteen_blocks_on_five_levels() -> None:
    deeplab = residual("deeplab_resnet34")
    assert deeplab.levels == 5
    assert [len(blocks) for blocks in deeplab.stage_blocks] == [3, 4, 6, 3]
    assert (deeplab.feature_channels, deeplab.output_stride) == (512, 8)


def test_only_the_first_block_of_the_last_three_deeplab_stages_has_a_shortcut() -> None:
    shortcuts = [[block.shortcut for block in blocks] for blocks in residual("deeplab_resnet34").stage_blocks]
    assert shortcuts == [[False] * 3, [True] + [False] * 3, [True] + [False] * 5, [True] + [False] * 2]


@pytest.mark.parametrize(
    ("stride", "incoming", "dilation", "expected"),
    [
        (1, 64, 1, False),
        (2, 64, 1, True),
        (1, 32, 1, True),
        (1, 64, 2, True),
        (1, 64, 4, True),
    ],
)
def test_a_stride_a_change_of_channels_or_a_dilation_makes_a_shortcut(
    *, stride: int, incoming: int, dilation: int, expected: bool
) -> None:
    assert ResidualStage(1, 64, stride, dilation).has_shortcut(incoming) is expected


def test_only_the_first_block_strides_and_every_block_dilates() -> None:
    assert ResidualStage(blocks=2, channels=8, stride=2, dilation=2).unrolled(4) == (
        ResidualBlock(in_channels=4, channels=8, stride=2, dilation=2, shortcut=True),
        ResidualBlock(in_channels=8, channels=8, stride=1, dilation=2, shortcut=False),
    )


def test_a_block_counts_its_convolutions_norms_and_shortcut() -> None:
    block = ResidualBlock(in_channels=2, channels=3, stride=1, dilation=1, shortcut=True)
    assert block.parameter_count("paper") == 9 * 2 * 3 + 9 * 3 * 3 + 2 * 3 + 3 * 3
    assert block.parameter_count("torch") == block.parameter_count("paper") + 3 * 3


def test_a_stem_counts_its_convolution_and_norm() -> None:
    assert Stem(kernel=3, channels=5, stride=2, pool=False).parameter_count("torch") == 27 * 5 + 2 * 5


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_five_levels_and_is_listed_under_its_name(name: str) -> None:
    chosen = backbone(name)
    assert chosen.name == name
    assert chosen.levels == len(chosen.level_parameters()) == 5


@pytest.mark.parametrize("name", RESIDUAL)
def test_every_block_reads_what_the_one_before_hands_on(name: str) -> None:
    chosen = residual(name)
    channels = chosen.stem.channels
    for block in (block for blocks in chosen.stage_blocks for block in blocks):
        assert block.in_channels == channels
        channels = block.channels
    assert channels == chosen.feature_channels


def test_the_conventions_differ_by_one_parameter_per_batch_norm_channel() -> None:
    sapling = residual("sapling")
    norms = sapling.stem.channels + sum(
        (3 if block.shortcut else 2) * block.channels for blocks in sapling.stage_blocks for block in blocks
    )
    assert sum(sapling.level_parameters("torch")) - sum(sapling.level_parameters("paper")) == norms


def test_sapling_is_much_smaller_than_deeplab() -> None:
    sapling, deeplab = (sum(backbone(name).level_parameters()) for name in ("sapling", "deeplab_resnet34"))
    assert 20 * sapling < deeplab


def test_an_unknown_backbone_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(InvalidError, match="no backbone 'oak'; there are deeplab_resnet34, sapling"):
        backbone("oak")


def test_a_reference_that_is_neither_name_nor_declaration_is_refused() -> None:
    with pytest.raises(InvalidError, match="a backbone is a name, or a declaration"):
        backbone(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", BACKBONES)
def test_a_name_is_its_own_canonical_reference(name: str) -> None:
    assert canonical_reference(name) == name


def test_the_built_in_backbones_are_among_all() -> None:
    assert list(backbones())[:3] == list(BACKBONES) == ["deeplab_resnet34", "sapling", "mobilenet_v2"]


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters_and_tensors_tell_the_same(name: str) -> None:
    chosen: Backbone = backbone(name)
    for level in range(chosen.levels):
        tensors = chosen.level_tensors(level)
        weights = {
            key: shape for key, shape in tensors.items() if not key.endswith(("running_mean", "running_var"))
        }
        means = [shape[0] for key, shape in tensors.items() if key.endswith("running_mean")]
        counted = sum(map(prod, weights.values()))
        assert counted == chosen.level_parameters("torch")[level]
        assert counted - sum(means) == chosen.level_parameters("paper")[level]


def test_mobilenet_v2_has_the_published_networks_parameters(mobilenet: MobileNetBackbone) -> None:
    """3,504,872 as it is commonly reported with 1,000 classes, less the classifier's 1,281,000."""
    assert sum(mobilenet.level_parameters("torch")) == 3_504_872 - 1_281_000
    assert sum(mobilenet.level_parameters("paper")) == 2_206_816


def test_mobilenet_v2_hands_on_1280_channels_at_a_thirty_second_of_the_resolution(
    mobilenet: MobileNetBackbone,
) -> None:
    assert mobilenet.level_channels == (24, 64, 96, 320, 1280)
    assert (mobilenet.feature_channels, mobilenet.output_stride) == (1280, 32)


def test_mobilenet_v2_is_cut_into_levels_where_treemtl_cuts_it(mobilenet: MobileNetBackbone) -> None:
    assert [len(blocks) for blocks in mobilenet.level_blocks] == [7, 11, 5, 8, 1]
    assert sum(mobilenet.level_blocks, ()) == mobilenet.blocks


def test_mobilenet_v2_has_thirty_two_blocks_of_which_ten_add(mobilenet: MobileNetBackbone) -> None:
    """The numbers of the residual units, as minimum cuts of the authors' prototxt give them."""
    assert len(mobilenet.blocks) == 32
    adding = [number for number, block in enumerate(mobilenet.blocks) if block.adds]
    assert adding == [6, 10, 11, 15, 16, 17, 21, 22, 26, 27]


def test_mobilenet_v2s_bottlenecks_are_linear(mobilenet: MobileNetBackbone) -> None:
    linear = [number for number, block in enumerate(mobilenet.blocks) if not block.relu and not block.adds]
    assert linear == [2, 5, 9, 14, 20, 25, 30]


def test_every_mobilenet_layer_reads_what_the_one_before_hands_on(mobilenet: MobileNetBackbone) -> None:
    channels = 3
    for layer in (layer for block in mobilenet.blocks for layer in block.layers):
        assert layer.in_channels == channels
        channels = layer.channels
    assert channels == mobilenet.feature_channels


def test_the_strides_of_mobilenet_v2_are_in_its_depthwise_layers(mobilenet: MobileNetBackbone) -> None:
    strided = {number: block for number, block in enumerate(mobilenet.blocks) if block.layers[0].stride == 2}
    assert list(strided) == [0, 4, 8, 13, 24]
    assert all(block.layers[0].groups == block.channels for number, block in strided.items() if number)


@pytest.mark.parametrize(
    ("level", "name", "shape"),
    [
        (0, "blocks.0.conv1.weight", (32, 3, 3, 3)),
        (0, "blocks.1.conv1.weight", (32, 1, 3, 3)),
        (0, "blocks.6.conv3.weight", (24, 144, 1, 1)),
        (1, "blocks.0.conv1.weight", (144, 24, 1, 1)),
        (3, "blocks.4.conv2.weight", (960, 1, 3, 3)),
        (4, "blocks.0.norm1.running_var", (1280,)),
    ],
)
def test_mobilenet_tensors_are_named_by_level_and_place_in_it(
    mobilenet: MobileNetBackbone, level: int, name: str, shape: tuple[int, ...]
) -> None:
    assert mobilenet.level_tensors(level)[name] == shape
