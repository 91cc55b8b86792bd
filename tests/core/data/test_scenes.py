"""What the scenes promise: one picture per key, exact labels, classes told by shape, a cache that heals."""

import hashlib
import itertools
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data import Batch, Dataset
from core.data.scenes import Sample, ScenesDataset, render
from core.data.scenes.arrays import Floats
from core.data.scenes.casting import FLOOR, ROOM_PARTS, Hits, Stage
from core.data.scenes.chunks import CHUNK
from core.data.scenes.footprints import Footprint
from core.data.scenes.responses import responses
from core.data.scenes.rooms import compose
from core.data.scenes.scene import Scene
from core.data.scenes.solids import BOX, ELLIPSOID, FRUSTUM, Part, Solid
from core.errors import InvalidError
from core.tasks import SCENE_CLASSES, profile

SEEN = 64
WALL_CLASS, FLOOR_CLASS, CEILING_CLASS = (SCENE_CLASSES.index(name) for name in ("wall", "floor", "ceiling"))


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [render(0, index, split="test") for index in range(SEEN)]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [compose(0, "test", index)[0] for index in range(SEEN)]


def digest(sample: Sample) -> str:
    parts = (sample.image, sample.segmentation, sample.normals, sample.depth, sample.keypoints, sample.edges)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def sight_lines(scene: Scene, resolution: int) -> npt.NDArray[np.float64]:
    """Camera coordinates [3, R, R] of what the pixels see at a depth of one metre."""
    steps = (np.arange(resolution) + 0.5 - resolution / 2) / scene.camera.focal(resolution)
    across, down = np.meshgrid(steps, steps)
    return np.stack([across, down, np.ones_like(across)])


def back_projected(scene: Scene, sample: Sample) -> npt.NDArray[np.float64]:
    """Points [3, R, R] in the room's frame, from depth alone."""
    camera = sight_lines(scene, sample.depth.shape[-1]) * sample.depth
    turned = np.einsum("ij,jhw->ihw", np.array(scene.camera.axes).T, camera)
    placed: npt.NDArray[np.float64] = turned + np.array(scene.camera.position)[:, None, None]
    return placed


def solid_bounds(solid: Solid) -> tuple[list[float], list[float]]:
    """Centre and half extents of a solid's bounding box, in its frame."""
    centres = np.array([part.centre for part in solid.parts])
    reach = np.array([part.half if part.kind != FRUSTUM else _frustum_reach(part) for part in solid.parts])
    low, high = (centres - reach).min(axis=0), (centres + reach).max(axis=0)
    return ((low + high) / 2).tolist(), ((high - low) / 2).tolist()


def _frustum_reach(part: Part) -> tuple[float, float, float]:
    bottom, height, top = part.half
    return max(bottom, top), height, max(bottom, top)


def cast_at(parts: tuple[Part, ...], *rays: tuple[float, float, float]) -> Hits:
    """Rays from the middle of a room of 10 m, towards a solid 2 m ahead on the eye's level."""
    solid = Solid(SCENE_CLASSES.index("table"), parts, (5.0, 5.0, 7.0), 1.0, 0.0)
    directions: Floats = np.array(rays, dtype=np.float32).T
    return Stage((10.0, 10.0, 10.0), [solid]).cast((5.0, 5.0, 5.0), directions)


def test_the_same_key_renders_the_same_sample() -> None:
    assert digest(render(3, 17, split="train")) == digest(render(3, 17, split="train"))


def test_another_process_renders_the_same_sample() -> None:
    code = (
        "import sys, hashlib; from core.data.scenes import render; s = render(5, 2, split='test', resolution=32);"
        "parts = (s.image, s.segmentation, s.normals, s.depth, s.keypoints, s.edges);"
        "sys.stdout.write(hashlib.sha256(b''.join(p.tobytes() for p in parts)).hexdigest())"
    )
    root = Path(__file__).resolve().parents[3]
    other = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    assert other.stdout == digest(render(5, 2, split="test", resolution=32))


def test_the_pictures_of_this_version_never_change() -> None:
    dataset_version, pictures = ScenesDataset.version, hashlib.sha256()
    for split, index in itertools.product(("train", "validation", "test"), range(3)):
        sample = render(0, index, split=split)
        pictures.update(np.rint(sample.image * 255).astype(np.uint8).tobytes())
        pictures.update(sample.segmentation.astype(np.uint8).tobytes())
    assert (dataset_version, pictures.hexdigest()) == (
        "1",
        "866df27dd62823d4613bbe567b332d0a27e9490ed00ff2fb0d42ec6371b96a33",
    )


@pytest.mark.parametrize(
    ("seed", "split", "index"), [(0, "train", 0), (0, "validation", 0), (1, "test", 0), (0, "test", 1)]
)
def test_another_key_renders_another_sample(seed: int, split: str, index: int, samples: list[Sample]) -> None:
    assert digest(render(seed, index, split=split)) != digest(samples[0])


def test_no_picture_of_one_split_appears_in_another() -> None:
    keys = itertools.product(("train", "validation", "test"), range(20))
    assert len({digest(render(0, index, split=split, resolution=8)) for split, index in keys}) == 60


def test_a_box_straight_ahead_is_met_at_its_front() -> None:
    hits = cast_at((Part(BOX, 0, (0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),), (0.01, 0.02, 1.0), (0.4, 0.01, 1.0))
    assert hits.distance.tolist() == pytest.approx([1.5, 5.0])
    assert hits.part[0] == ROOM_PARTS
    assert hits.normal[:, 0].tolist() == [0.0, 0.0, -1.0]


def test_a_ball_straight_ahead_is_met_at_its_surface() -> None:
    hits = cast_at(
        (Part(ELLIPSOID, 0, (0.0, 0.0, 0.0), (0.5, 0.25, 0.75)),), (0.0, 0.0, 1.0), (0.0, 0.2, 1.0)
    )
    assert hits.distance.tolist() == pytest.approx([1.25, 5.0])
    assert hits.normal[:, 0].tolist() == [0.0, 0.0, -1.0]


def test_a_cone_is_met_on_its_slope_and_on_its_flat_top() -> None:
    cone = Part(FRUSTUM, 0, (0.0, -1.0, 0.0), (0.8, 0.5, 0.4))
    hits = cast_at((cone,), (0.0, -0.5, 1.0), (0.0, -0.25, 1.0))
    slope, top = hits.distance.tolist()
    assert top == pytest.approx(2.0)
    assert hits.normal[:, 1].tolist() == [0.0, 1.0, 0.0]
    height, radius = -0.5 * slope, 2.0 - slope
    assert radius == pytest.approx(0.4 + 0.4 * (-0.5 - height), abs=1e-5)
    assert hits.normal[:, 0].tolist() == pytest.approx(
        [0.0, 0.4 / np.hypot(1, 0.4), -1 / np.hypot(1, 0.4)], abs=1e-5
    )


def test_a_ray_down_meets_the_floor_at_the_height_of_the_eye() -> None:
    hits = cast_at((Part(BOX, 0, (0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),), (0.1, -1.0, 0.1))
    assert hits.distance.tolist() == pytest.approx([5.0])
    assert hits.part.tolist() == [FLOOR]


def test_every_wall_floor_and_ceiling_pixel_lies_on_its_plane(
    samples: list[Sample], scenes: list[Scene]
) -> None:
    for sample, scene in zip(samples, scenes, strict=True):
        x, y, z = back_projected(scene, sample)
        wide, high, deep = scene.size
        walls = np.minimum.reduce([np.abs(x), np.abs(x - wide), np.abs(z), np.abs(z - deep)])
        assert walls[sample.segmentation == WALL_CLASS].max(initial=0.0) < 1e-3
        assert np.abs(y - high)[sample.segmentation == CEILING_CLASS].max(initial=0.0) < 1e-3
        assert y[sample.segmentation == FLOOR_CLASS].max(initial=0.0) < 0.02  # a rug is 12 mm thick
        assert y[sample.segmentation == FLOOR_CLASS].min(initial=0.0) > -1e-3


def test_normals_have_unit_length_and_face_the_camera(samples: list[Sample], scenes: list[Scene]) -> None:
    for sample, scene in zip(samples, scenes, strict=True):
        assert np.abs(np.linalg.norm(sample.normals, axis=0) - 1.0).max() < 1e-5
        assert (sight_lines(scene, 64) * sample.normals).sum(axis=0).max() < 0.0


def test_normals_agree_with_the_slope_of_depth_on_flat_surfaces(
    samples: list[Sample], scenes: list[Scene]
) -> None:
    compared = 0
    for sample, scene in zip(samples[:16], scenes, strict=False):
        points = sight_lines(scene, 64) * sample.depth
        normals = sample.normals
        right, down = points[:, 1:-1, 2:] - points[:, 1:-1, :-2], points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
        found = -np.cross(right, down, axis=0)
        found /= np.linalg.norm(found, axis=0)
        middle = normals[:, 1:-1, 1:-1]
        beside = (normals[:, 1:-1, 2:], normals[:, 1:-1, :-2], normals[:, 2:, 1:-1], normals[:, :-2, 1:-1])
        plain = np.isin(sample.segmentation, (WALL_CLASS, CEILING_CLASS))
        flat = (
            np.all([np.abs(other - middle).max(axis=0) < 1e-6 for other in beside], axis=0)
            & plain[1:-1, 1:-1]
        )
        flat &= plain[1:-1, 2:] & plain[1:-1, :-2] & plain[2:, 1:-1] & plain[:-2, 1:-1]
        cosine = (found * middle).sum(axis=0)[flat]
        assert cosine.min(initial=1.0) > 0.999
        compared += cosine.size
    assert compared > 5000


def test_depth_is_within_the_room(samples: list[Sample], scenes: list[Scene]) -> None:
    for sample, scene in zip(samples, scenes, strict=True):
        assert sample.depth.min() > 0.5
        assert sample.depth.max() < np.linalg.norm(scene.size)


def test_the_camera_stands_in_the_room_and_outside_of_every_solid(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert all(0.0 < here < size for here, size in zip(scene.camera.position, scene.size, strict=True))
        for solid in scene.solids:
            centre, half = solid_bounds(solid)
            local = solid.to_local(scene.camera.position)
            assert any(abs(a - b) > c for a, b, c in zip(local, centre, half, strict=True))


def test_every_class_is_seen_often(samples: list[Sample]) -> None:
    seen = np.array([[np.any(sample.segmentation == label) for label in range(13)] for sample in samples])
    assert seen.mean(axis=0).min() > 0.2
    assert (seen[:, 3:].sum(axis=1) >= 3).mean() > 0.9


def test_colour_alone_does_not_give_the_class_away(samples: list[Sample]) -> None:
    colours = np.concatenate([sample.image.reshape(3, -1).T for sample in samples])
    labels = np.concatenate([sample.segmentation.ravel() for sample in samples])
    half = len(labels) // 2
    means = np.stack([colours[:half][labels[:half] == label].mean(axis=0) for label in range(13)])
    guess = np.argmin(((colours[half:, None] - means) ** 2).sum(axis=2), axis=1)
    recall = [np.mean(guess[labels[half:] == label] == label) for label in range(13)]
    assert np.mean(recall) < 0.2  # chance is 0.08


def test_pictures_use_the_range_and_are_exact_in_eight_bits(samples: list[Sample]) -> None:
    levels = np.stack([sample.image for sample in samples]) * 255.0
    assert np.abs(levels - np.rint(levels)).max() < 1e-3
    assert 0.3 < levels.mean() / 255.0 < 0.6
    assert levels.std(axis=(1, 2, 3)).min() > 15.0


def test_keypoints_and_edges_keep_information_at_a_quarter_of_the_size(samples: list[Sample]) -> None:
    for maps in ([s.keypoints[0] for s in samples], [s.edges[0] for s in samples]):
        fine = np.stack(maps)
        assert 0.0 <= fine.min() <= fine.max() <= 1.0
        coarse = fine[:, 2::4, 2::4]
        assert coarse.std() > 0.9 * fine.std()
        beside = fine[:, 2::4, 3::4]
        assert np.corrcoef(coarse.ravel(), beside.ravel())[0, 1] > 0.8


def test_a_step_has_its_edge_where_it_is_and_a_plain_wall_has_none() -> None:
    image = np.full((3, 64, 64), 0.25, dtype=np.float32)
    assert responses(image)[1].max() < 1e-4
    image[:, :, 32:] = 0.75
    keypoints, edges = responses(image)
    assert set(np.argmax(edges[0], axis=1).tolist()) <= {31, 32}
    assert edges.max() > 0.5
    assert keypoints.max() < 0.02


def test_a_blob_is_a_keypoint() -> None:
    image = np.full((3, 64, 64), 0.25, dtype=np.float32)
    image[:, 30:34, 18:22] = 0.9
    keypoints, _ = responses(image)
    row, column = np.unravel_index(np.argmax(keypoints[0]), (64, 64))
    assert (abs(row - 31.5), abs(column - 19.5)) <= (1.0, 1.0)
    assert keypoints.max() > 0.3


@pytest.mark.parametrize("resolution", [32, 96])
def test_another_resolution_shows_the_same_scene(resolution: int, samples: list[Sample]) -> None:
    other = render(0, 0, split="test", resolution=resolution)
    assert other.image.shape == (3, resolution, resolution)
    assert other.depth.shape == other.keypoints.shape == other.edges.shape == (1, resolution, resolution)
    pick = ((np.arange(32) + 0.5) / 32 * resolution).astype(int)
    base = ((np.arange(32) + 0.5) / 32 * 64).astype(int)
    same = other.segmentation[np.ix_(pick, pick)] == samples[0].segmentation[np.ix_(base, base)]
    assert same.mean() > 0.9


Damage = Callable[[bytes], bytes]


def batches_equal(one: Batch, two: Batch) -> bool:
    labels = all(torch.equal(one.labels[name], two.labels[name]) for name in one.labels)
    return labels and torch.equal(one.images, two.images) and torch.equal(one.indices, two.indices)


def test_a_batch_from_the_cache_equals_one_just_rendered(tmp_path: Path) -> None:
    fresh = ScenesDataset("validation", cache=tmp_path, resolution=16).batch([3, 60, 3])
    cached = ScenesDataset("validation", cache=tmp_path, resolution=16).batch([3, 60, 3])
    alone = render(0, 60, split="validation", resolution=16)
    assert batches_equal(fresh, cached)
    for name in fresh.labels:
        assert np.array_equal(fresh.labels[name][1].numpy(), getattr(alone, name))
    assert np.array_equal(fresh.images[1].numpy(), alone.image)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
        lambda _: b"",
    ],
    ids=["half", "one byte short", "one byte long", "one bit flipped", "empty"],
)
def test_a_damaged_file_is_rendered_again(damage: Damage, tmp_path: Path) -> None:
    whole = ScenesDataset("test", cache=tmp_path, resolution=8).batch(range(4))
    (path,) = tmp_path.rglob("*.chunk")
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert batches_equal(ScenesDataset("test", cache=tmp_path, resolution=8).batch(range(4)), whole)
    assert path.read_bytes() == content


def test_files_lie_under_version_seed_resolution_and_split(tmp_path: Path) -> None:
    ScenesDataset("train", cache=tmp_path, resolution=8, seed=7).batch([CHUNK])
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.parent.relative_to(tmp_path) == Path("scenes-v1/seed7-8/train")


def test_a_cache_that_cannot_be_written_costs_no_samples(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    dataset = ScenesDataset("test", cache=tmp_path / "file", resolution=8)
    assert np.array_equal(
        dataset.batch([1]).images[0].numpy(), render(0, 1, split="test", resolution=8).image
    )


def test_several_readers_may_render_the_same_file_at_once(tmp_path: Path) -> None:
    datasets = [ScenesDataset("test", cache=tmp_path, resolution=8) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(lambda dataset: dataset.batch(range(8)), datasets)
    assert all(batches_equal(first, other) for other in others)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_the_environment_chooses_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDTHROW_CACHE", str(tmp_path))
    ScenesDataset("test", resolution=8).batch([0])
    assert list(tmp_path.rglob("*.chunk"))


def test_a_batch_has_the_shapes_of_its_tasks_in_the_order_asked_for(tmp_path: Path) -> None:
    dataset: Dataset = ScenesDataset("test", cache=tmp_path, resolution=16)
    batch = dataset.batch([5, 1, 5])
    assert (dataset.name, dataset.version, dataset.split, len(dataset)) == ("scenes", "1", "test", 1024)
    assert dataset.tasks == profile("scenes").tasks
    assert batch.images.shape == (3, 3, 16, 16)
    assert (batch.images.dtype, batch.labels["segmentation"].dtype) == (torch.float32, torch.int64)
    assert {name: label.shape[1:] for name, label in batch.labels.items()} == {
        "segmentation": (16, 16),
        "normals": (3, 16, 16),
        "depth": (1, 16, 16),
        "keypoints": (1, 16, 16),
        "edges": (1, 16, 16),
    }
    assert batch.indices.tolist() == [5, 1, 5]
    assert torch.equal(batch.images[0], batch.images[2])
    assert not torch.equal(batch.images[0], batch.images[1])


@pytest.mark.parametrize("index", [-1, 10])
def test_a_position_outside_the_data_set_is_refused(index: int, tmp_path: Path) -> None:
    with pytest.raises(IndexError, match=r"outside 0\.\.9"):
        ScenesDataset("test", cache=tmp_path, size=10).batch([0, index])


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: render(0, 0, split="tset"), "split"),
        (lambda: render(-1, 0, split="test"), "seed"),
        (lambda: render(0, -1, split="test"), "index"),
        (lambda: render(0, 0, split="test", resolution=4), "resolution"),
        (lambda: ScenesDataset("dev"), "split"),
        (lambda: ScenesDataset(size=0), "size"),
        (lambda: ScenesDataset(resolution=0), "resolution"),
        (lambda: ScenesDataset(seed=-1), "seed"),
    ],
)
def test_a_wrong_argument_is_named(call: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidError) as caught:
        call()
    assert caught.value.field == field


sides = st.floats(0.2, 2.0)
places = st.floats(-2.0, 2.0)
footprints = st.builds(Footprint, places, places, st.floats(-3.2, 3.2), sides, sides)


@settings(max_examples=60, deadline=None)
@given(footprints, footprints)
def test_footprints_overlap_exactly_when_they_share_a_point(one: Footprint, two: Footprint) -> None:
    steps = np.linspace(-0.4999, 0.4999, 25)  # points inside: two that touch at an edge may go either way
    across, ahead = (grid.ravel() for grid in np.meshgrid(steps * one.width, steps * one.depth))
    x, z = one.x + one.cos * across + one.sin * ahead, one.z - one.sin * across + one.cos * ahead
    shared = any(two.distance(float(a), float(b)) == 0.0 for a, b in zip(x, z, strict=True))
    assert one.overlaps(two) == two.overlaps(one)
    assert one.overlaps(two) or not shared
