"""The steps of the inner attack, of samples that may leave it: those of `core.attacks.projected`, bit for bit."""

from copy import copy
from dataclasses import replace

import torch
from torch import Tensor

from core.attacks.draws import Draws
from core.attacks.threat import L2Ball, LinfBall
from core.specs.attack import AttackSpec


class Moves:
    """FGSM, PGD or MIM, one step at a time.

    Args:
        spec: resolved, in the images' units.
        noise: standard deviation of what is added after each step, in the images' units.
    """

    def __init__(self, ball: LinfBall | L2Ball, spec: AttackSpec, draws: Draws, *, noise: float) -> None:
        self.ball = ball
        self._spec = spec
        self._draws = copy(draws)
        self._noise = noise
        self._momentum = torch.zeros_like(ball.centre) if spec.algorithm == "mim" else None

    def start(self) -> Tensor:
        """Where the samples begin."""
        return self.ball.random_point(self._draws) if self._spec.random_start else self.ball.centre.clone()

    def step(self, images: Tensor, gradient: Tensor) -> Tensor:
        """Where they go from there; overwrites the gradient."""
        size = self._spec.step_size
        assert size is not None
        moved = self.ball.step(images, self._direction(gradient), size)
        if not self._noise:
            return moved
        return self.ball.project(moved.add_(self._draws.normal(moved), alpha=self._noise))

    def keep(self, rows: Tensor) -> None:
        """Let the other samples go."""
        ball = self.ball
        if isinstance(ball, LinfBall):
            lower, upper = ball.lower[rows], ball.upper[rows]
            self.ball = replace(ball, centre=ball.centre[rows], lower=lower, upper=upper)
        else:
            self.ball = replace(ball, centre=ball.centre[rows])
        self._draws.generators = [self._draws.generators[row] for row in rows.tolist()]
        if self._momentum is not None:
            self._momentum = self._momentum[rows]

    def _direction(self, gradient: Tensor) -> Tensor:
        if self._momentum is None:
            return gradient
        size = gradient.abs().flatten(1).mean(1).clamp_min(torch.finfo(gradient.dtype).tiny)
        self._momentum.mul_(self._spec.decay or 0.0).add_(gradient.div_(size.view(-1, 1, 1, 1)))
        return self._momentum.clone()
