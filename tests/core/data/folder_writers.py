"""Small data sets in the true form of each folder format, of random numbers; each writer gives back what it wrote."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]
Raw = dict[str, Array]
"""By part, the numbers in a sample's files, as they lie on the disk (RGB, channels last)."""

SIZE = (32, 40)


def png_bytes(pixels: Array, **options: Any) -> bytes:
    """A PNG of uint8 or uint16 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def npy_bytes(values: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def put(root: Path, name: str, content: bytes | Array) -> str:
    """Write a file, an array as its name's ending says."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        content = npy_bytes(content) if name.endswith(".npy") else png_bytes(content)
    path.write_bytes(content)
    return name


def smooth(rng: np.random.Generator, size: tuple[int, int], channels: int = 3) -> Array:
    """Bytes that compress about as well as a photograph does."""
    coarse = rng.integers(0, 256, (size[0] // 8 + 2, size[1] // 8 + 2, channels), dtype=np.uint8)
    planes = [
        np.asarray(Image.fromarray(coarse[:, :, c]).resize((size[1], size[0]), Image.Resampling.BICUBIC))
        for c in range(channels)
    ]
    noise = rng.integers(-4, 5, (*size, channels))
    pixels: Array = np.clip(np.stack(planes, axis=2).astype(np.int64) + noise, 0, 255).astype(np.uint8)
    return pixels


def regions(rng: np.random.Generator, size: tuple[int, int], classes: Sequence[int]) -> Array:
    """Class numbers in blocks."""
    blocks = rng.choice(np.array(classes), (size[0] // 8 + 1, size[1] // 8 + 1))
    classes_of: Array = np.kron(blocks, np.ones((8, 8), dtype=np.int64))[: size[0], : size[1]]
    return classes_of


def units(rng: np.random.Generator, size: tuple[int, int]) -> Array:
    """Unit vectors, float64 [H, W, 3]."""
    vectors = smooth(rng, size).astype(np.float64) - 127.3
    normals: Array = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    return normals


def write_treemtl(
    root: Path, splits: Mapping[str, int], *, size: tuple[int, int] = SIZE, seed: int = 0
) -> dict[str, list[Raw]]:
    """`nyu_v2_3task.json` and its files; the first rows of a sample have no class, no normal and no depth."""
    rng = np.random.default_rng(seed)
    listing: dict[str, list[list[str]]] = {split: [] for split in splits}
    written: dict[str, list[Raw]] = {split: [] for split in splits}
    for split, count in splits.items():
        for number in range(count):
            raw = {
                "image": smooth(rng, size),
                "segmentation": regions(rng, size, range(40)).astype(np.uint8),
                "normals": np.clip((units(rng, size) + 1) * 127.5, 0, 254).astype(np.uint8),
                "depth": rng.uniform(0.5, 9, size).astype(np.float32),
            }
            raw["segmentation"][0], raw["normals"][:2], raw["depth"][:3] = 255, 255, 0
            stem = f"{split}_{number:04d}"
            row = [f"img/{stem}.png", f"seg/{stem}.png", f"normal_mask/{stem}.png", f"depth/{stem}.npy"]
            for name, part in zip(row, raw.values(), strict=True):
                put(root, name, part)
            listing[split].append(row)
            written[split].append(raw)
    put(root, "nyu_v2_3task.json", json.dumps(listing).encode())
    return written


def write_mtan(
    root: Path,
    splits: Mapping[str, int],
    *,
    kind: str = "nyuv2",
    size: tuple[int, int] = SIZE,
    seed: int = 0,
    parts: Sequence[str] = (),
) -> dict[str, list[Raw]]:
    """`train/` and `val/` with a folder per part; the first rows of a sample count in no task."""
    rng = np.random.default_rng(seed)
    written: dict[str, list[Raw]] = {split: [] for split in splits}
    for split, count in splits.items():
        for number in range(count):
            raw: Raw = {"image": (smooth(rng, size) / 255.0).astype(np.float32)}
            if kind == "nyuv2":
                raw["label"] = regions(rng, size, range(13)).astype(np.float32)
                raw["normal"] = units(rng, size).astype(np.float32)
                raw["normal"][:2] = 0
            else:
                raw["label_7"] = regions(rng, size, range(7)).astype(np.float64)
                raw["label_19"] = regions(rng, size, range(19)).astype(np.float64)
            raw["depth"] = rng.uniform(0.01, 0.5, (*size, 1)).astype(np.float32)
            raw["depth"][:3] = 0
            for name in raw:
                if name.startswith("label"):
                    raw[name][0] = -1
            for name, values in raw.items():
                if not parts or name in parts:
                    put(root, f"{split}/{name}/{number}.npy", values)
            written[split].append(raw)
    return written


def write_taskonomy(
    root: Path, splits: Mapping[str, int], *, size: tuple[int, int] = SIZE, seed: int = 0, below: bool = False
) -> dict[str, list[Raw]]:
    """`taskonomy.json`, priors, and six PNGs a sample, `below` folders named after their lists or not."""
    rng = np.random.default_rng(seed)
    listing: dict[str, list[list[str]]] = {split: [] for split in splits}
    written: dict[str, list[Raw]] = {split: [] for split in splits}
    for split, count in splits.items():
        for number in range(count):
            raw = {
                "rgb": smooth(rng, size),
                "segment_semantic": regions(rng, size, range(18)).astype(np.uint8),
                "normal": np.rint((units(rng, size) + 1) * 127.5).astype(np.uint8),
                "depth_zbuffer": rng.integers(300, 20000, size).astype(np.uint16),
                "keypoints2d": rng.integers(0, 700, size).astype(np.uint16),
                "edge_texture": rng.integers(0, 10000, size).astype(np.uint16),
            }
            raw["depth_zbuffer"][:3] = 65535
            row = [f"{split}-home/{part}/point_{number}_domain_{part}.png" for part in raw]
            for name, part in zip(row, raw.values(), strict=True):
                put(root, f"{split}/{name}" if below else name, part)
            listing[split].append(row)
            written[split].append(raw)
    put(root, "taskonomy.json", json.dumps(listing).encode())
    put(root, "semseg_prior_factor.npy", np.linspace(0.5, 2.0, 17))
    return written


GENERAL: dict[str, Any] = {
    "format": "windthrow",
    "format_version": 1,
    "name": "rooms",
    "title": "Rooms with a view",
    "tasks": [
        {"name": "parts", "kind": "segmentation", "channels": 5, "class_weights": [1, 1, 2, 2, 0.5]},
        {"name": "depth", "kind": "depth", "channels": 1, "metrics": ["abs_error"]},
        {"name": "normals", "kind": "normals", "channels": 3},
        {"name": "curvature", "kind": "regression", "channels": 2},
        {"name": "room", "kind": "classification", "channels": 4, "class_names": ["a", "b", "c", "d"]},
    ],
    "image": {"encoding": "png8"},
    "labels": {
        "parts": {"encoding": "png8", "ignore": 0, "offset": -1},
        "depth": {"encoding": "png16", "scale": 0.001},
        "normals": {"encoding": "png8", "ignore": 128},
        "curvature": {"encoding": "npy", "axes": "chw", "ignore": "nan"},
        "room": {"encoding": "text"},
    },
    "masks": {"depth": {"encoding": "png8"}},
    "splits": {},
}
"""A manifest without splits, of one task of each kind."""


def general_raw(rng: np.random.Generator, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    """One sample for `GENERAL`: arrays by part, and a number for the class of the room."""
    raw: dict[str, Any] = {
        "image": smooth(rng, size),
        "parts": regions(rng, size, range(6)).astype(np.uint8),
        "depth": rng.integers(0, 9000, size).astype(np.uint16),
        "normals": np.rint((units(rng, size) + 1) * 127.5).astype(np.uint8),
        "curvature": rng.normal(size=(2, *size)).astype(np.float32),
        "room": int(rng.integers(4)),
        "depth.mask": (rng.random(size) < 0.8).astype(np.uint8) * 255,
    }
    raw["normals"][:2], raw["curvature"][:, 0] = 128, np.nan
    return raw


def number_bytes(value: object) -> bytes:
    return f"{value}\n".encode()


ENDINGS = {"curvature": "npy", "room": "txt"}
WRITERS: Mapping[str, Callable[[Any], bytes]] = {"npy": npy_bytes, "png": png_bytes, "txt": number_bytes}


def general_members(key: str, raw: Mapping[str, Any]) -> dict[str, bytes]:
    """A sample's members in a shard."""
    found = {}
    for part, values in raw.items():
        ending = ENDINGS.get(part, "png")
        found[f"{key}.{part}.{ending}"] = WRITERS[ending](values)
    return found


def write_general_files(
    root: Path, splits: Mapping[str, int], *, size: tuple[int, int] = SIZE, seed: int = 0, lines: bool = False
) -> dict[str, list[dict[str, Any]]]:
    """The general format in files, the samples listed in the manifest or in a JSON lines file per split."""
    rng, manifest = np.random.default_rng(seed), json.loads(json.dumps(GENERAL))
    written: dict[str, list[dict[str, Any]]] = {split: [] for split in splits}
    for split, count in splits.items():
        samples = []
        for number in range(count):
            raw = general_raw(rng, size)
            names = list(general_members(f"{split}/{number:04d}", raw))
            for name, content in general_members(f"{split}/{number:04d}", raw).items():
                put(root, name, content)
            entry: dict[str, Any] = dict(zip(raw, names, strict=True))
            samples.append({"key": f"{split}-{number}", "masks": {"depth": entry.pop("depth.mask")}, **entry})
            written[split].append(raw)
        manifest["splits"][split] = {"samples": f"{split}.jsonl" if lines else samples}
        if lines:
            put(root, f"{split}.jsonl", "\n".join(map(json.dumps, samples)).encode())
    put(root, "dataset.json", json.dumps(manifest).encode())
    return written


def write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def write_general_shards(
    root: Path,
    splits: Mapping[str, int],
    *,
    size: tuple[int, int] = SIZE,
    seed: int = 0,
    per_shard: int = 2,
) -> dict[str, list[dict[str, Any]]]:
    """The general format in tar shards: the same samples as in files."""
    rng, manifest = np.random.default_rng(seed), json.loads(json.dumps(GENERAL))
    written: dict[str, list[dict[str, Any]]] = {split: [] for split in splits}
    for split, count in splits.items():
        written[split] = [general_raw(rng, size) for _ in range(count)]
        shards = []
        for begin in range(0, count, per_shard):
            members: dict[str, bytes] = {}
            for number in range(begin, min(begin + per_shard, count)):
                members |= general_members(f"{split}/{number:04d}", written[split][number])
            shards.append(f"{split}-{begin // per_shard:03d}.tar")
            write_tar(root / shards[-1], members)
        manifest["splits"][split] = {"shards": shards}
    put(root, "dataset.json", json.dumps(manifest).encode())
    return written


def edit_manifest(root: Path, **changes: Any) -> None:
    """Set members of a `dataset.json`; None takes one away."""
    manifest = json.loads((root / "dataset.json").read_bytes()) | changes
    kept = {name: value for name, value in manifest.items() if value is not None}
    (root / "dataset.json").write_text(json.dumps(kept))
