"""Noise of the same size: the floor that any attack must beat."""

from core.attacks.algorithm import Attempt, Run


def uniform_noise(run: Run) -> Attempt:
    """A uniformly random point of the ball."""
    return Attempt(run.ball.random_point(run.draws))


def sign_noise(run: Run) -> Attempt:
    """The image plus or minus eps in every value."""
    return Attempt(run.ball.random_corner(run.draws))
