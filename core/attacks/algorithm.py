"""What every algorithm gets and gives."""

from dataclasses import dataclass

from torch import Tensor

from core.attacks.ascent import Ascent
from core.attacks.draws import Draws
from core.attacks.threat import Ball


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of an algorithm over a batch.

    Attributes:
        clean: [N, 3, H, W], inside ball and box.
        ascent: what is to be raised.
        draws: random numbers of this run.
        steps, step_size, decay: as in the resolved spec; step size in the images' units.
        random_start: whether the run begins at a random point of the ball.
    """

    clean: Tensor
    ball: Ball
    ascent: Ascent
    draws: Draws
    steps: int
    step_size: float
    decay: float
    random_start: bool

    def start(self) -> Tensor:
        """Where the run begins; the caller may overwrite it."""
        return self.ball.random_point(self.draws) if self.random_start else self.clean.clone()


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a run came to.

    Attributes:
        images: [N, 3, H, W], inside ball and box.
        value: [N], the objective there, where the run knows it.
    """

    images: Tensor
    value: Tensor | None = None
