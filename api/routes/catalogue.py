"""What there is to choose from: backbones, layouts, profiles and data sets, attacks with their JSON schema."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.auth import Reader
from api.paging import Limit, Page
from api.problems import at
from api.views.attacks import AttacksView
from core.backbones import BACKBONES, ResidualBackbone, backbone
from core.datasets import DATASETS
from core.errors import InvalidError
from core.layouts import Layout, enumerate_layouts
from core.tasks import PROFILES, Metric

router = APIRouter(prefix="/v1", tags=["catalogue"])


class BackboneView(BaseModel):
    """A backbone, cut into levels at which tasks may part."""

    name: str
    title: str
    levels: int
    level_channels: list[int]
    output_stride: int
    parameters: int = Field(description="Of the whole backbone once, heads not counted.")

    @classmethod
    def of(cls, backbone: ResidualBackbone) -> "BackboneView":
        """Describe a backbone."""
        return cls(
            name=backbone.name,
            title=backbone.title,
            levels=backbone.levels,
            level_channels=list(backbone.level_channels),
            output_stride=backbone.output_stride,
            parameters=sum(backbone.level_parameters("torch")),
        )


class LayoutView(BaseModel):
    """A branching layout."""

    index: int | None = Field(
        description="Position in the catalogue; null where it is too large to enumerate."
    )
    levels: list[list[list[int]]] = Field(description="By level, the sets of tasks that share it.")
    sharing_level: int = Field(description="Levels that all tasks share: all of them down to 0.")
    pair_sharing: float = Field(
        description="Share of (level, pair of tasks) that still run together: 1 down to 0."
    )
    parameters: int | None = Field(
        description="Of the backbone, one per batch-norm channel, as the paper counts."
    )

    @classmethod
    def of(cls, layout: Layout, backbone_name: str | None) -> "LayoutView":
        """Describe a layout."""
        return cls(
            index=layout.index,
            levels=layout.to_json(),
            sharing_level=layout.sharing_level,
            pair_sharing=layout.pair_sharing,
            parameters=None if backbone_name is None else layout.parameter_count(backbone_name),
        )


class LayoutDetail(LayoutView):
    """A layout with its picture."""

    drawing: str


class LayoutRequest(BaseModel):
    """A layout in any accepted form."""

    layout: Any = Field(examples=["all-shared", {"index": 14}])
    tasks: int = Field(default=3, ge=1, le=16)
    backbone: str = "deeplab_resnet34"


class TaskView(BaseModel):
    """A task of a profile."""

    name: str
    kind: str
    channels: int
    metrics: list[Metric]
    class_names: list[str]


class ProfileView(BaseModel):
    """The tasks of a benchmark, in the order that layouts number them."""

    name: str
    title: str
    tasks: list[TaskView]


class DatasetView(BaseModel):
    """A data set that can be attacked on."""

    name: str
    title: str
    version: str
    profile: str
    splits: dict[str, int]
    image_shape: tuple[int, int, int]


BackboneName = Annotated[str | None, Query(description="Count this backbone's parameters.")]


@router.get("/backbones")
def list_backbones(_: Reader) -> list[BackboneView]:
    """Every backbone."""
    return [BackboneView.of(backbone) for backbone in BACKBONES.values()]


@router.get("/layouts")
def list_layouts(
    _: Reader,
    tasks: Annotated[int, Query(ge=1, le=16)] = 3,
    levels: Annotated[int, Query(ge=1, le=64)] = 5,
    backbone_name: Annotated[str | None, Query(alias="backbone")] = None,
    cursor: Annotated[int, Query(ge=0)] = 0,
    limit: Limit = 50,
) -> Page[LayoutView]:
    """The catalogue of layouts for a number of tasks and levels, in the order of their indices."""
    if backbone_name is not None:
        levels = backbone(backbone_name).levels
    catalogue = enumerate_layouts(tasks, levels)
    items = [LayoutView.of(layout, backbone_name) for layout in catalogue[cursor : cursor + limit]]
    following = cursor + limit
    return Page(items=items, next_cursor=str(following) if following < len(catalogue) else None)


@router.post("/layouts")
def describe_layout(_: Reader, request: LayoutRequest) -> LayoutDetail:
    """Check a layout written in any accepted form, and describe it."""
    try:
        levels = backbone(request.backbone).levels
    except InvalidError as error:
        raise at(error, "backbone") from error
    try:
        layout = Layout.parse(request.layout, tasks=request.tasks, levels=levels)
    except InvalidError as error:
        raise at(error, "layout") from error
    view = LayoutView.of(layout, request.backbone)
    return LayoutDetail(**view.model_dump(), drawing=layout.drawing())


@router.get("/profiles")
def list_profiles(_: Reader) -> list[ProfileView]:
    """Every profile with its tasks, their metrics and directions."""
    return [
        ProfileView(
            name=profile.name,
            title=profile.title,
            tasks=[
                TaskView(
                    name=task.name,
                    kind=task.kind,
                    channels=task.channels,
                    metrics=list(task.reported),
                    class_names=list(task.class_names),
                )
                for task in profile.tasks
            ],
        )
        for profile in PROFILES.values()
    ]


@router.get("/datasets")
def list_datasets(_: Reader) -> list[DatasetView]:
    """Every data set."""
    return [DatasetView.model_validate(info, from_attributes=True) for info in DATASETS.values()]


@router.get("/attacks")
def list_attacks(_: Reader) -> AttacksView:
    """The algorithms and what they take, the objectives, and the JSON schema that an attack in a job must satisfy."""
    return AttacksView.everything()
