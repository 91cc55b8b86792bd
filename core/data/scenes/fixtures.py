"""What belongs to the room rather than stands in it: windows, doors and rugs."""

from core.data.scenes.draws import Draws
from core.data.scenes.materials import Materials
from core.data.scenes.models import Model


def window(draws: Draws, materials: Materials) -> Model:
    """Panes behind a frame with bars, and a sill; its base is the sill's height."""
    frame = materials.fresh()
    pane = materials.fresh(glow=draws.uniform(0.4, 0.9) if draws.chance(0.7) else 0.0)
    model = Model("window", draws.uniform(0.8, 1.7), 0.1, draws.uniform(0.9, 1.3))
    x, bar = model.width / 2, draws.uniform(0.06, 0.09)
    model.box(pane, (-x, x), (0.0, model.height), (-0.05, -0.03))
    for left in (-x, x - bar):
        model.box(frame, (left, left + bar), (0.0, model.height), (-0.05, 0.01))
    for low in (0.0, model.height - bar):
        model.box(frame, (-x, x), (low, low + bar), (-0.05, 0.01))
    uprights = 1 if model.width < 1.2 else 2
    for number in range(uprights):
        middle = -x + (number + 1) * model.width / (uprights + 1)
        model.box(frame, (middle - bar / 2, middle + bar / 2), (0.0, model.height), (-0.05, 0.0))
    if draws.chance(0.5):
        middle = model.height * draws.uniform(0.5, 0.7)
        model.box(frame, (-x, x), (middle - bar / 2, middle + bar / 2), (-0.05, 0.0))
    model.box(frame, (-x - 0.06, x + 0.06), (-0.05, 0.0), (-0.05, 0.1))
    return model


def door(draws: Draws, materials: Materials) -> Model:
    """A leaf in its frame, with panels and a handle."""
    leaf, frame, panel = materials.fresh(), materials.fresh(), materials.fresh()
    model = Model("door", draws.uniform(0.8, 1.0), 0.1, draws.uniform(1.95, 2.1))
    x, rim = model.width / 2, 0.08
    model.box(leaf, (-x, x), (0.0, model.height), (-0.05, -0.02))
    for left in (-x - rim, x):
        model.box(frame, (left, left + rim), (0.0, model.height + rim), (-0.05, 0.02))
    model.box(frame, (-x, x), (model.height, model.height + rim), (-0.05, 0.02))
    if draws.chance(0.7):
        for low, high in ((0.15, 0.9), (1.1, model.height - 0.15)):
            model.box(panel, (-x + 0.14, x - 0.14), (low, high), (-0.05, 0.0))
    hinge = draws.pick((-1.0, 1.0))
    model.ball(frame, (hinge * (x - 0.07), 1.02, 0.02), (0.04, 0.04, 0.04))
    return model


def rug(draws: Draws, materials: Materials) -> Model:
    """A thin mat: floor, whatever its pattern."""
    model = Model("floor", draws.uniform(1.2, 2.4), draws.uniform(0.9, 1.6), 0.012)
    x, z = model.width / 2, model.depth / 2
    model.box(materials.fresh(), (-x, x), (0.0, model.height), (-z, z))
    return model
