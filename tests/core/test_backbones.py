"""Backbones as data: their shape and the parameter counts that follow."""

import pytest

from core.backbones import BACKBONES, ResidualBlock, ResidualStage, Stem, backbone
from core.errors import InvalidError


def test_deeplab_resnet34_has_the_papers_count_with_one_parameter_per_batch_norm_channel() -> None:
    assert round(sum(backbone("deeplab_resnet34").level_parameters("paper")) / 1e6, 3) == 21.276


def test_deeplab_resnet34_has_torchs_count_with_two_parameters_per_batch_norm_channel() -> None:
    assert sum(backbone("deeplab_resnet34").level_parameters("torch")) == 21_284_672


def test_the_papers_convention_is_the_default() -> None:
    deeplab = backbone("deeplab_resnet34")
    assert deeplab.level_parameters() == deeplab.level_parameters("paper")


def test_deeplab_resnet34_is_a_stem_and_sixteen_blocks_on_five_levels() -> None:
    deeplab = backbone("deeplab_resnet34")
    assert deeplab.levels == 5
    assert [len(blocks) for blocks in deeplab.stage_blocks] == [3, 4, 6, 3]
    assert (deeplab.feature_channels, deeplab.output_stride) == (512, 8)


def test_only_the_first_block_of_the_last_three_deeplab_stages_has_a_shortcut() -> None:
    shortcuts = [[block.shortcut for block in blocks] for blocks in backbone("deeplab_resnet34").stage_blocks]
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


@pytest.mark.parametrize("name", BACKBONES)
def test_every_block_reads_what_the_one_before_hands_on(name: str) -> None:
    chosen = backbone(name)
    channels = chosen.stem.channels
    for block in (block for blocks in chosen.stage_blocks for block in blocks):
        assert block.in_channels == channels
        channels = block.channels
    assert channels == chosen.feature_channels


def test_the_conventions_differ_by_one_parameter_per_batch_norm_channel() -> None:
    sapling = backbone("sapling")
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
