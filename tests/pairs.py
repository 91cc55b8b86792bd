"""Some of the digits as a data set of an operator: PNG files and a manifest in the general format."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from core.data import open_dataset
from core.tasks import profile
from tests.core.data.folder_writers import png_bytes
from tests.service import Caller, Json


def write_pairs(root: Path, splits: Mapping[str, int], *, by: str | None = None) -> None:
    """Write the first samples of each split, sorted by a task's class if wanted."""
    manifest: Json = {
        "format": "windthrow",
        "format_version": 1,
        "name": "pairs",
        "profile": "digits",
        "image": {"encoding": "png8"},
        "labels": {"left": {"encoding": "value"}, "right": {"encoding": "value"}},
        "splits": {},
    }
    for split, count in splits.items():
        batch = open_dataset("digits", split).batch(range(count))
        samples = []
        order = range(count) if by is None else batch.labels[by].argsort(stable=True).tolist()
        for number in order:
            name = f"{split}-{number}.png"
            pixels = (batch.images[number] * 255).round().byte().permute(1, 2, 0).numpy()
            (root / name).write_bytes(png_bytes(pixels))
            labels = {task.name: int(batch.labels[task.name][number]) for task in profile("digits").tasks}
            samples.append({"key": f"{split}-{number}", "image": name, **labels})
        manifest["splits"][split] = {"samples": samples}
    (root / "dataset.json").write_text(json.dumps(manifest))


def operate(caller: Caller, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of an operator on the machine of the service."""
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments, "--data", str(caller.stack.data_dir)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | caller.stack.settings.environment(),
    )
