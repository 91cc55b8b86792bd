"""A report in a real browser: under its headers it looks as it should, and nothing is refused."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from core.gates.rendering.badge import COLOURS
from tests.api.desk import Desk
from tests.api.test_reports import published

BROWSER = shutil.which("chromium")

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium here")


def shown(url: str, folder: Path) -> tuple[NDArray[np.uint8], str]:
    """A picture of what is at an address `[H, W, 3]`, and what the browser says of it."""
    assert BROWSER is not None
    picture = folder / "shown.png"
    said = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}",
            "--window-size=900,700",
            f"--screenshot={picture}",
            url,
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    ).stderr
    with Image.open(io.BytesIO(picture.read_bytes())) as image:
        return np.asarray(image.convert("RGB")), said


def has(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(colour)).all(-1).any())


@pytest.mark.parametrize("file", ["", "/badge.svg"])
def test_the_browser_draws_it_and_refuses_nothing(desk: Desk, tmp_path: Path, file: str) -> None:
    url = desk.caller.stack.url + published(desk, desk.evaluated(20.0))["url"] + file
    picture, said = shown(url, tmp_path)
    assert not [line for line in said.splitlines() if "CONSOLE" in line]
    digits = COLOURS["failed"][1].removeprefix("#")
    red = tuple(int(digits[at : at + 2], 16) for at in (0, 2, 4))
    assert has(picture, (red[0], red[1], red[2]))
