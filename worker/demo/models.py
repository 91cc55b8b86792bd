"""The models that come with the demo. How they were trained is in `worker.demo.train`; nothing here needs torch."""

from dataclasses import dataclass
from pathlib import Path

from core.specs.manifests import ModelManifest

CHECKPOINTS = Path(__file__).parent / "checkpoints"

SEMANTIC_AND_TEXTURE = [
    [["segmentation", "normals", "depth", "keypoints", "edges"]],
    [["segmentation", "normals", "depth", "keypoints", "edges"]],
    [["segmentation", "normals", "depth"], ["keypoints", "edges"]],
    [["segmentation"], ["normals", "depth"], ["keypoints", "edges"]],
    [["segmentation"], ["normals", "depth"], ["keypoints", "edges"]],
]
"""Two levels shared by all; then geometry and texture part, then segmentation from geometry."""


@dataclass(frozen=True, slots=True)
class DemoModel:
    """A shipped checkpoint.

    Attributes:
        name: of the model in the service and of its files.
        title: for a reader.
    """

    name: str
    title: str
    dataset: str
    manifest: ModelManifest

    @property
    def weights(self) -> Path:
        """The safetensors file."""
        return CHECKPOINTS / f"{self.name}.safetensors"

    @property
    def card(self) -> Path:
        """The JSON file with manifest, recipe and clean metrics."""
        return CHECKPOINTS / f"{self.name}.json"


def _scenes(name: str, title: str, layout: object) -> DemoModel:
    manifest = ModelManifest.model_validate({"backbone": "sapling", "layout": layout, "profile": "scenes"})
    return DemoModel(name, title, "scenes", manifest.resolved())


DEMO_MODELS = (
    _scenes("scenes-all-shared", "all shared", "all-shared"),
    _scenes("scenes-branched", "branched", SEMANTIC_AND_TEXTURE),
    _scenes("scenes-independent", "independent", "independent"),
    DemoModel(
        "digits-all-shared",
        "digits, all shared",
        "digits",
        ModelManifest.model_validate(
            {"backbone": "sapling", "layout": "all-shared", "profile": "digits"}
        ).resolved(),
    ),
)
