"""Furniture as composites of boxes, ellipsoids and frusta, with measures drawn within what is usual."""

from core.data.scenes.draws import Draws
from core.data.scenes.materials import Materials
from core.data.scenes.models import Model


def table(draws: Draws, materials: Materials) -> Model:
    """A board on four legs, or a round one on a column."""
    top, legs = materials.fresh(), materials.fresh()
    height = draws.uniform(0.65, 0.8) if draws.chance(0.75) else draws.uniform(0.4, 0.5)
    if draws.chance(0.3):
        radius = draws.uniform(0.42, 0.65)
        model = Model("table", 2 * radius, 2 * radius, height)
        model.round(top, (height - 0.05, height), (radius, radius))
        model.round(legs, (0.04, height - 0.05), (0.05, 0.05))
        model.round(legs, (0.0, 0.04), (0.6 * radius, 0.5 * radius))
        return model
    model = Model("table", draws.uniform(0.9, 1.7), draws.uniform(0.6, 0.95), height)
    x, z = model.width / 2, model.depth / 2
    model.box(top, (-x, x), (height - 0.05, height), (-z, z))
    model.legs(legs, height - 0.05, thick=draws.uniform(0.05, 0.09), inset=0.03)
    return model


def chair(draws: Draws, materials: Materials) -> Model:
    """A seat with a back on four legs, with or without arms."""
    seat, frame = materials.fresh(), materials.fresh()
    model = Model("chair", draws.uniform(0.42, 0.54), draws.uniform(0.42, 0.54), draws.uniform(0.85, 1.08))
    x, z, high = model.width / 2, model.depth / 2, draws.uniform(0.42, 0.48)
    model.legs(frame, high - 0.06, thick=0.045)
    model.box(seat, (-x, x), (high - 0.06, high), (-z, z))
    if draws.chance(0.5):
        model.box(seat, (-x, x), (high + 0.08, model.height), (-z, -z + 0.05))
        model.box(frame, (-x, -x + 0.04), (high, high + 0.08), (-z, -z + 0.04))
        model.box(frame, (x - 0.04, x), (high, high + 0.08), (-z, -z + 0.04))
    else:
        model.box(frame, (-x, -x + 0.05), (high, model.height), (-z, -z + 0.05))
        model.box(frame, (x - 0.05, x), (high, model.height), (-z, -z + 0.05))
        for low in (model.height - 0.12, high + 0.14):
            model.box(seat, (-x + 0.05, x - 0.05), (low, low + 0.1), (-z, -z + 0.04))
    if draws.chance(0.25):
        for left in (-x - 0.04, x):
            model.box(frame, (left, left + 0.04), (high + 0.18, high + 0.22), (-z, z - 0.04))
            model.box(frame, (left, left + 0.04), (0.0, high + 0.18), (z - 0.1, z - 0.06))
    return model


def sofa(draws: Draws, materials: Materials) -> Model:
    """A long upholstered seat between two arms, with cushions."""
    cover, cushion = materials.fresh(), materials.fresh()
    seats = draws.integer(1, 3)
    model = Model(
        "sofa", 0.4 + seats * draws.uniform(0.58, 0.7), draws.uniform(0.8, 0.95), draws.uniform(0.75, 0.95)
    )
    x, z, arm = model.width / 2, model.depth / 2, draws.uniform(0.15, 0.2)
    base, seat = draws.uniform(0.26, 0.32), draws.uniform(0.42, 0.48)
    model.box(cover, (-x, x), (0.06, base), (-z, z))
    model.box(cover, (-x, x), (base, model.height), (-z, -z + 0.22))
    for left in (-x, x - arm):
        model.box(cover, (left, left + arm), (base, seat + draws.uniform(0.14, 0.2)), (-z + 0.22, z))
    wide = (model.width - 2 * arm) / seats
    for number in range(seats):
        left = -x + arm + number * wide
        model.box(cushion, (left + 0.01, left + wide - 0.01), (base, seat), (-z + 0.22, z + 0.02))
    if draws.chance(0.6):
        left = draws.pick((-x + arm + 0.2, x - arm - 0.2))
        model.ball(materials.fresh(), (left, seat + 0.18, -z + 0.32), (0.19, 0.19, 0.1))
    return model


def bed(draws: Draws, materials: Materials) -> Model:
    """A mattress with pillows and a blanket between a headboard and, sometimes, a footboard."""
    frame, sheet, blanket = materials.fresh(), materials.fresh(), materials.fresh()
    pillows = draws.integer(1, 2)
    model = Model(
        "bed", 0.35 + pillows * draws.uniform(0.58, 0.68), draws.uniform(1.85, 2.1), draws.uniform(0.8, 1.15)
    )
    x, z, low = model.width / 2, model.depth / 2, draws.uniform(0.22, 0.3)
    top = low + draws.uniform(0.16, 0.24)
    model.box(frame, (-x, x), (0.1, low), (-z, z))
    model.legs(frame, 0.1, thick=0.08)
    model.box(frame, (-x, x), (0.1, model.height), (-z, -z + 0.07))
    model.box(sheet, (-x + 0.03, x - 0.03), (low, top), (-z + 0.07, z - 0.04))
    fold = -z + draws.uniform(0.6, 0.95)
    model.box(blanket, (-x + 0.005, x - 0.005), (low + 0.04, top + 0.035), (fold, z - 0.02))
    wide = (model.width - 0.1) / pillows
    for number in range(pillows):
        middle = -x + 0.05 + (number + 0.5) * wide
        model.ball(sheet, (middle, top + 0.06, -z + 0.33), (0.42 * wide, 0.1, 0.2))
    if draws.chance(0.4):
        model.box(frame, (-x, x), (0.1, top + draws.uniform(0.05, 0.25)), (z - 0.02, z + 0.04))
    return model


def bookcase(draws: Draws, materials: Materials) -> Model:
    """Open shelves with rows of books."""
    wood = materials.fresh()
    books = (materials.fresh(), materials.fresh(), materials.fresh())
    model = Model("bookcase", draws.uniform(0.7, 1.25), draws.uniform(0.28, 0.38), draws.uniform(1.2, 2.1))
    x, z, thick = model.width / 2, model.depth / 2, 0.035
    for left in (-x, x - thick):
        model.box(wood, (left, left + thick), (0.0, model.height), (-z, z))
    model.box(wood, (-x, x), (0.0, model.height), (-z, -z + 0.02))
    shelves = max(3, round(model.height / draws.uniform(0.36, 0.46)))
    step = (model.height - thick) / shelves
    for number in range(shelves + 1):
        model.box(wood, (-x, x), (number * step, number * step + thick), (-z, z))
    for number in range(shelves):
        _row_of_books(model, draws, books, number * step + thick, step - thick)
    return model


def _row_of_books(model: Model, draws: Draws, books: tuple[int, ...], floor: float, room: float) -> None:
    """Fill one shelf with two or three blocks of books of different height, leaving a gap somewhere."""
    left, right = -model.width / 2 + 0.04, model.width / 2 - 0.04
    depth = model.depth / 2
    while left < right - 0.1:
        end = min(right, left + draws.uniform(0.18, 0.45))
        if draws.chance(0.8):
            top = floor + room * draws.uniform(0.5, 0.88)
            model.box(
                draws.pick(books),
                (left, end),
                (floor, top),
                (-depth + 0.02, depth - draws.uniform(0.03, 0.08)),
            )
        left = end + 0.005


def cabinet(draws: Draws, materials: Materials) -> Model:
    """A closed body with doors or drawers and knobs: sideboard, chest of drawers or wardrobe."""
    body, front, knob = materials.fresh(), materials.fresh(), materials.fresh()
    tall = draws.chance(0.3)
    height = draws.uniform(1.7, 2.1) if tall else draws.uniform(0.7, 1.05)
    model = Model("cabinet", draws.uniform(0.8, 1.3), draws.uniform(0.4, 0.58), height)
    x, z, foot = model.width / 2, model.depth / 2, draws.uniform(0.06, 0.14)
    model.legs(body, foot, thick=0.06)
    model.box(body, (-x, x), (foot, height), (-z, z - 0.02))
    columns = 2 if tall or draws.chance(0.5) else 1
    rows = 1 if tall or draws.chance(0.4) else draws.integer(2, 4)
    wide, high = (model.width - 0.04) / columns, (height - foot - 0.04) / rows
    for column in range(columns):
        for row in range(rows):
            left, low = -x + 0.02 + column * wide, foot + 0.02 + row * high
            model.box(
                front, (left + 0.015, left + wide - 0.015), (low + 0.015, low + high - 0.015), (z - 0.02, z)
            )
            hinge = left + (wide / 2 if rows > 1 else (0.1 if column else wide - 0.1))
            model.ball(knob, (hinge, low + high / 2, z + 0.02), (0.03, 0.03, 0.03))
    return model


def lamp(draws: Draws, materials: Materials) -> Model:
    """A floor lamp: foot, pole and a shade that may be lit."""
    return _lamp(draws, materials, draws.uniform(1.35, 1.75), shade=draws.uniform(0.2, 0.28))


def small_lamp(draws: Draws, materials: Materials) -> Model:
    """A lamp to stand on a table or a cabinet."""
    return _lamp(draws, materials, draws.uniform(0.42, 0.58), shade=draws.uniform(0.13, 0.18))


def _lamp(draws: Draws, materials: Materials, height: float, *, shade: float) -> Model:
    pole = materials.fresh()
    hood = materials.fresh(glow=draws.uniform(0.5, 0.9) if draws.chance(0.6) else 0.0)
    model = Model("lamp", 2 * shade, 2 * shade, height)
    drop = shade * draws.uniform(1.1, 1.5)
    model.round(pole, (0.0, 0.04), (0.75 * shade, 0.65 * shade))
    model.round(pole, (0.04, height - drop), (0.022, 0.022))
    model.round(hood, (height - drop, height), (shade, shade * draws.uniform(0.45, 0.8)))
    return model


def pendant(draws: Draws, materials: Materials) -> Model:
    """A lamp that hangs from the ceiling; its height is that of cord and shade."""
    cord, hood = (
        materials.fresh(),
        materials.fresh(glow=draws.uniform(0.5, 0.9) if draws.chance(0.6) else 0.0),
    )
    height, shade = draws.uniform(0.55, 0.85), draws.uniform(0.2, 0.32)
    model = Model("lamp", 2 * shade, 2 * shade, height)
    model.round(cord, (0.2, height), (0.015, 0.015))
    if draws.chance(0.3):
        model.ball(hood, (0.0, 0.2, 0.0), (0.8 * shade, 0.8 * shade, 0.8 * shade))
    else:
        model.round(hood, (0.0, 0.25), (shade, 0.35 * shade))
    return model


def plant(draws: Draws, materials: Materials) -> Model:
    """A pot, a stem and a crown of leaves, to stand on the floor."""
    return _plant(draws, materials, draws.uniform(0.75, 1.5))


def small_plant(draws: Draws, materials: Materials) -> Model:
    """A plant to stand on a table or a cabinet."""
    return _plant(draws, materials, draws.uniform(0.35, 0.5))


def _plant(draws: Draws, materials: Materials, height: float) -> Model:
    pot, stem, leaf = materials.fresh(), materials.fresh(), materials.fresh()
    wide = height * draws.uniform(0.13, 0.18) + 0.03
    rim = wide * draws.uniform(1.6, 1.9)
    model = Model("plant", 2 * rim, 2 * rim, height)
    top = height * draws.uniform(0.2, 0.28)
    model.round(pot, (0.0, top), (0.75 * wide, wide))
    model.round(stem, (top, 0.7 * height), (0.03 * height, 0.02 * height))
    reach = 0.55 * rim
    model.ball(leaf, (0.0, 0.84 * height, 0.0), (0.5 * rim, 0.16 * height, 0.5 * rim))
    for x, z in ((-1, -1), (-1, 1), (1, -1), (1, 1), (0, 1.2)):
        middle = height * draws.uniform(0.45, 0.8)
        thin, long = draws.uniform(0.25, 0.45) * rim, height * draws.uniform(0.1, 0.17)
        spread = reach * draws.uniform(0.7, 1.1)
        model.ball(leaf, (x * spread, middle, z * spread), (thin, long, thin))
    return model
