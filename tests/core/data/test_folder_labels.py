"""Numbers to labels: what is scaled, ignored and refused, and that resizing is that of the losses."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from core.data.folders.errors import RefusedError
from core.data.folders.labels import class_map, depth_map, image_of, normal_map, regression_map
from core.data.folders.samples import nearest
from core.losses import resize_nearest


@pytest.mark.parametrize("size", [(5, 7), (64, 80), (32, 40), (1, 1)])
def test_nearest_is_that_of_the_losses(size: tuple[int, int]) -> None:
    values = np.arange(2 * 32 * 40).reshape(2, 32, 40)
    assert_array_equal(nearest(values, size), resize_nearest(torch.from_numpy(values), *size))


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (lambda: class_map(np.array([[0.5]]), classes=3), "value"),
        (lambda: class_map(np.array([[np.nan]]), classes=3), "value"),
        (lambda: class_map(np.array([[1e300]]), classes=3), "value"),
        (lambda: class_map(np.array([[-1]]), classes=3), "value"),
        (lambda: class_map(np.array([[2**63]], dtype=np.uint64), classes=3), "value"),
        (lambda: depth_map(np.array([[1e300]])), "not_finite"),
        (lambda: normal_map(np.full((1, 1, 3), 1e30)), "not_finite"),
        (lambda: normal_map(np.full((1, 1, 3), np.nan)), "not_finite"),
        (lambda: normal_map(np.ones((2, 2))), "kind"),
        (lambda: image_of(np.full((1, 1, 3), 1.5)), "value"),
        (lambda: image_of(np.full((1, 1, 3), np.nan)), "value"),
        (lambda: image_of(np.ones((2, 2, 4), dtype=np.uint8)), "kind"),
        (lambda: regression_map(np.ones((2, 2, 3)), channels=2), "kind"),
        (lambda: regression_map(np.full((2, 2), np.inf), channels=1), "not_finite"),
    ],
)
def test_numbers_that_are_no_labels_are_refused(read: Callable[[], object], reason: str) -> None:
    with pytest.raises(RefusedError) as caught:
        read()
    assert caught.value.reason == reason


def test_ignored_values_may_be_anything() -> None:
    nan, inf = np.nan, np.inf
    depth, valid = depth_map(np.array([[nan, 2.0, -1.0, inf]]), scale=0.5, ignore=(nan, inf))
    assert depth.tolist() == [[[0.0, 1.0, 0.0, 0.0]]]
    assert valid.tolist() == [[False, True, False, False]]
    assert class_map(np.array([[nan, 1.0, 9.0]]), classes=2, ignore=(nan, 9)).tolist() == [[255, 1, 255]]
    assert regression_map(np.array([[nan, 3.0]]), channels=1, offset=1.0, ignore=(nan,)).tolist() == [
        [[255, 4]]
    ]
    hole = np.array([[True, False]])
    normals, known = normal_map(np.array([[[nan] * 3, [0.0, 3.0, 4.0]]]), ignored=hole)
    assert known.tolist() == [[False, True]]
    assert normals[:, 0].tolist() == [[255, 0], [255, pytest.approx(0.6)], [255, pytest.approx(0.8)]]
