"""Backbones of installed packages: read once, refused with the reason, and never at the cost of the others."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from core.backbones import BrokenBackboneError, PluggedBackbone, backbone, backbones, canonical_reference
from core.backbones.plugins import find_plugins, plugins
from core.checkpoints import expected_tensors
from core.errors import InvalidError
from core.layouts import Layout
from core.specs.manifests import ModelManifest
from tests.core.synthetic import SMALL

DESCRIPTION = """
class Oak:
    name = "oak"
    title = "An oak"
    head = "sapling"
    modules = "{module}:make"
    level_channels = (4, 6)
    output_stride = 4

    def level_parameters(self, convention):
        return (112, 222) if convention == "paper" else (116, 228)

    def level_tensors(self, level):
        incoming, channels = ((3, 4), (4, 6))[level]
        norm = dict.fromkeys(["n.weight", "n.bias", "n.running_mean", "n.running_var"], (channels,))
        return {{"c.weight": (channels, incoming, 3, 3), **norm}}


{changes}
OAK = Oak()
"""


class Site:
    """A folder of installed packages, in front of those that are really installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def install(
        self, package: str, changes: str = "", *, name: str = "oak", source: str | None = None
    ) -> None:
        """A package of one module of the same name; `changes` are lines after the description's class."""
        info = self.folder / f"{package}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[windthrow.backbones]\n{name} = {package}:OAK\n")
        described = DESCRIPTION.format(module=package, changes=dedent(changes))
        (self.folder / f"{package}.py").write_text(described if source is None else dedent(source))
        self.modules.append(package)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.syspath_prepend(tmp_path)
    plugins.cache_clear()
    found = Site(tmp_path)
    yield found
    plugins.cache_clear()
    for module in found.modules:
        sys.modules.pop(module, None)


def problem(name: str = "oak") -> str:
    found = find_plugins()
    assert name not in found.backbones
    return found.problems[name]


def test_an_installed_backbone_is_found_by_name_with_its_package(site: Site) -> None:
    site.install("oaks")
    oak = backbone("oak")
    assert isinstance(oak, PluggedBackbone)
    assert oak.provider == "oaks 1.2"
    assert (oak.levels, oak.feature_channels, oak.output_stride) == (2, 6, 4)
    assert oak.level_parameters() == (112, 222)
    assert list(backbones())[-1] == "oak"


def test_it_is_read_once(site: Site) -> None:
    site.install("oaks")
    oak = backbone("oak")
    (site.folder / "oaks.py").write_text("raise OSError")
    assert backbone("oak") is oak


def test_what_is_installed_later_is_not_there_before_the_next_start(site: Site) -> None:
    assert "oak" not in backbones()
    site.install("oaks")
    assert "oak" not in backbones()
    assert "oak" in find_plugins().backbones


def test_built_in_backbones_are_there_without_reading_any_package(site: Site) -> None:
    site.install("oaks", source="raise SystemExit")
    backbone("sapling")
    assert "oaks" not in sys.modules


def test_an_installed_backbone_can_stand_in_a_manifest(site: Site) -> None:
    site.install("oaks")
    manifest = ModelManifest(backbone="oak", layout="independent", profile="nyuv2").resolved()
    assert manifest.backbone == canonical_reference("oak") == "oak"
    assert manifest.tree.parameter_count("oak", "torch") == 3 * (116 + 228)


def test_its_tensors_are_expected_in_every_branch(site: Site) -> None:
    site.install("oaks")
    tensors = expected_tensors(backbone("oak"), Layout.independent(2, 2), SMALL[:2])
    assert tensors["stages.1.1.c.weight"] == (6, 4, 3, 3)
    assert sum(name.startswith("stages.") for name in tensors) == 2 * 2 * 5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ("Oak.name = 'elm'", "the entry point's name and `name`"),
        ("Oak.title = ''", "title must be text"),
        ("Oak.title = 'two\\nlines'", "title must be text"),
        ("Oak.head = 'linear'", "head must be deeplab or sapling"),
        ("Oak.modules = 'oaks.make'", "modules must be text"),
        ("Oak.modules = None", "modules must be text"),
        ("Oak.level_channels = ()", "level_channels must be 1 to 64 numbers"),
        ("Oak.level_channels = (4, 0)", "level_channels must be whole numbers, 1 or more"),
        ("Oak.level_channels = (4, 6.0)", "level_channels must be whole numbers"),
        ("Oak.level_channels = 4", "level_channels must be whole numbers"),
        ("Oak.output_stride = 0", "output_stride must be whole numbers, 1 or more"),
        ("del Oak.output_stride", "AttributeError: 'Oak' object has no attribute 'output_stride'"),
        ("Oak.level_parameters = lambda self, convention: (1,)", "level_parameters must give 2 numbers"),
        ("Oak.level_parameters = lambda self, convention: (1, -1)", "level_parameters must be whole numbers"),
        ("Oak.level_parameters = lambda self: (1, 1)", "TypeError"),
        ("Oak.level_tensors = lambda self, level: 1 / 0", "ZeroDivisionError: division by zero"),
        ("Oak.level_tensors = lambda self, level: [(1, 2)]", "level_tensors must give a mapping"),
        ("Oak.level_tensors = lambda self, level: {'w': 3}", "the shape of w must be whole numbers"),
        ("Oak.level_tensors = lambda self, level: {'': ()}", "level 0 has a tensor that cannot be called ''"),
        ("Oak.level_tensors = lambda self, level: {7: ()}", "level 0 has a tensor that cannot be called 7"),
        ("Oak.level_tensors = lambda self, level: {'n.num_batches_tracked': ()}", "cannot be called 'n.num"),
        ("raise OSError('no disk\\nno luck')", "OSError: no disk"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_broken_backbone_is_left_out_with_the_reason(site: Site, changes: str, reason: str) -> None:
    site.install("oaks", changes)
    found = problem()
    assert found.startswith("the backbone 'oak' of oaks 1.2 cannot be used: ")
    assert reason in found
    assert "\n" not in found


def test_an_entry_point_to_nowhere_is_left_out(site: Site) -> None:
    site.install("oaks", source="")
    assert "has no attribute 'OAK'" in problem()


def test_asking_for_a_broken_backbone_says_what_is_wrong(site: Site) -> None:
    site.install("oaks", "raise OSError('no disk')")
    with pytest.raises(BrokenBackboneError, match=r"of oaks 1\.2 cannot be used: OSError: no disk") as caught:
        backbone("oak")
    assert caught.value.code == "broken_backbone"
    assert isinstance(caught.value, InvalidError)


def test_a_broken_backbone_is_logged_and_the_others_are_there(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.install("oaks", "raise OSError('no disk')")
    site.install("elms", "Oak.name = 'elm'", name="elm")
    with caplog.at_level(logging.WARNING):
        assert set(backbones()) == {"deeplab_resnet34", "sapling", "mobilenet_v2", "elm"}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the backbone 'oak' of oaks 1.2 cannot be used: OSError: no disk" in caplog.text


def test_two_packages_with_one_name_are_both_left_out(site: Site) -> None:
    site.install("oaks")
    site.install("woods")
    assert problem() == "oaks 1.2 and woods 1.2 both have a backbone 'oak'; uninstall one"


def test_a_package_cannot_replace_a_built_in_backbone(site: Site) -> None:
    site.install("oaks", "Oak.name = 'sapling'", name="sapling")
    assert problem("sapling") == "oaks 1.2 has a backbone 'sapling', which is a built-in one's name"
    assert not isinstance(backbone("sapling"), PluggedBackbone)
