"""What there is to choose from: backbones, layouts, profiles and data sets, attacks and recipes with their schemas."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.auth import Reader
from api.paging import Limit, Page
from api.problems import at
from api.state import Transaction
from api.views.attacks import AttacksView
from api.views.recipes import RecipesView
from core.backbones import Backbone, HeadKind, PluggedBackbone, backbone, backbones, declaration_schema
from core.datasets import DatasetInfo
from core.errors import InvalidError
from core.layouts import Layout, enumerate_layouts
from core.store import registered
from core.tasks import PROFILES, Metric, Task

router = APIRouter(prefix="/v1", tags=["catalogue"])


class BackboneView(BaseModel):
    """A backbone, cut into levels at which tasks may part."""

    name: str
    title: str
    levels: int
    level_channels: list[int]
    output_stride: int
    head: HeadKind
    parameters: int = Field(description="Of the whole backbone once, heads not counted.")
    provider: str | None = Field(description="The installed package that adds it; null if it is built in.")

    @classmethod
    def of(cls, backbone: Backbone) -> "BackboneView":
        """Describe a backbone."""
        return cls(
            name=backbone.name,
            title=backbone.title,
            levels=backbone.levels,
            level_channels=list(backbone.level_channels),
            output_stride=backbone.output_stride,
            head=backbone.head,
            parameters=sum(backbone.level_parameters("torch")),
            provider=backbone.provider if isinstance(backbone, PluggedBackbone) else None,
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
    def of(cls, layout: Layout, backbone: Backbone | None) -> "LayoutView":
        """Describe a layout."""
        return cls(
            index=layout.index,
            levels=layout.to_json(),
            sharing_level=layout.sharing_level,
            pair_sharing=layout.pair_sharing,
            parameters=None if backbone is None else layout.parameter_count(backbone),
        )


class LayoutDetail(LayoutView):
    """A layout with its picture."""

    drawing: str


class LayoutRequest(BaseModel):
    """A layout in any accepted form."""

    layout: Any = Field(examples=["all-shared", {"index": 14}])
    tasks: int = Field(default=3, ge=1, le=16)
    backbone: Any = Field(
        default="deeplab_resnet34",
        description="A name or a declaration, as in a model's manifest.",
        json_schema_extra={"anyOf": [{"type": "string"}, declaration_schema()]},
    )


class TaskView(BaseModel):
    """A task of a profile."""

    name: str
    kind: str
    channels: int
    metrics: list[Metric]
    class_names: list[str]
    loss: str

    @classmethod
    def of(cls, task: Task) -> "TaskView":
        """Describe a task."""
        return cls(
            name=task.name,
            kind=task.kind,
            channels=task.channels,
            metrics=list(task.reported),
            class_names=list(task.class_names),
            loss=task.measure,
        )


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
    tasks: list[TaskView] = Field(description="What it has labels for.")
    splits: dict[str, int]
    image_shape: tuple[int, int, int]

    @classmethod
    def of(cls, info: DatasetInfo) -> "DatasetView":
        """Describe a data set."""
        return cls(
            name=info.name,
            title=info.title,
            version=info.version,
            profile=info.profile,
            tasks=list(map(TaskView.of, info.tasks)),
            splits=info.splits,
            image_shape=info.image_shape,
        )


BackboneName = Annotated[str | None, Query(description="Count this backbone's parameters.")]


@router.get("/backbones")
def list_backbones(_: Reader) -> list[BackboneView]:
    """Every backbone that has a name: the built-in ones, then those of installed packages."""
    return [BackboneView.of(each) for each in backbones().values()]


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
    chosen = None if backbone_name is None else backbone(backbone_name)
    if chosen is not None:
        levels = chosen.levels
    catalogue = enumerate_layouts(tasks, levels)
    items = [LayoutView.of(layout, chosen) for layout in catalogue[cursor : cursor + limit]]
    following = cursor + limit
    return Page(items=items, next_cursor=str(following) if following < len(catalogue) else None)


@router.post("/layouts")
def describe_layout(_: Reader, request: LayoutRequest) -> LayoutDetail:
    """Check a layout written in any accepted form, and describe it."""
    try:
        chosen = backbone(request.backbone)
    except InvalidError as error:
        raise at(error, "backbone") from error
    try:
        layout = Layout.parse(request.layout, tasks=request.tasks, levels=chosen.levels)
    except InvalidError as error:
        raise at(error, "layout") from error
    view = LayoutView.of(layout, chosen)
    return LayoutDetail(**view.model_dump(), drawing=layout.drawing())


@router.get("/profiles")
def list_profiles(_: Reader) -> list[ProfileView]:
    """Every profile with its tasks, their metrics and directions."""
    return [
        ProfileView(
            name=profile.name, title=profile.title, tasks=[TaskView.of(task) for task in profile.tasks]
        )
        for profile in PROFILES.values()
    ]


@router.get("/datasets")
def list_datasets(session: Transaction, _: Reader) -> list[DatasetView]:
    """Every data set: those that came along, then those that the operator registered, each in its newest version."""
    return [DatasetView.of(info) for info in registered.offered(session)]


@router.get("/attacks")
def list_attacks(_: Reader) -> AttacksView:
    """The algorithms and what they take, the objectives, and the JSON schema that an attack in a job must satisfy."""
    return AttacksView.everything()


@router.get("/recipes")
def list_recipes(_: Reader) -> RecipesView:
    """The presets of a training's recipe, and the JSON schema that a recipe in a job must satisfy."""
    return RecipesView.everything()
