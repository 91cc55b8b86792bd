"""Pictures that the report draws."""

import io
import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.worker.demo.evaluations import png
from worker.demo.figures import Curve, amplified_difference, draw_curves, spread


def test_the_difference_is_amplified_about_grey_and_clipped() -> None:
    clean = png()
    for shift, expected in ((0, 128), (2, 160), (8, 255), (100, 255)):
        with Image.open(io.BytesIO(amplified_difference(clean, png(shift=shift)))) as image:
            shown = np.asarray(image)
        assert shown[0, 0].tolist() == [expected] * 3
        assert (shown[1:] == 128).all()


@given(st.lists(st.floats(0, 100), max_size=12), st.floats(0.1, 5))
def test_labels_keep_their_order_their_distance_and_the_axes(wanted: list[float], gap: float) -> None:
    placed = spread(wanted, gap, low=0, high=100)
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    for lower, upper in pairwise(order):
        assert placed[upper] - placed[lower] >= gap or math.isclose(placed[upper] - placed[lower], gap)
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in placed)


def test_intervals_are_drawn_in_the_colour_of_their_curve() -> None:
    points, intervals = ((2.0, 3.0), (8.0, 9.0)), ((2.0, 2.0, 4.0), (8.0, 7.0, 11.0))

    def drawn(*curves: Curve) -> int:
        svg = draw_curves(curves, span=(0.0, 12.0), prefix="p")
        return svg.count("var(--curve-auto-mta)") + svg.count("var(--curve-total)")

    assert drawn(Curve("AUTO-MTA", "auto_mta", points, intervals)) > drawn(
        Curve("AUTO-MTA", "auto_mta", points)
    )
    assert drawn(Curve("TOTAL", "total", points, intervals)) > drawn(Curve("TOTAL", "total", points))
