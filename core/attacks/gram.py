"""Weights of several tasks' gradients out of their inner products alone, for every sample by itself."""

import torch
from torch import Tensor

RIDGE = 1e-12
"""Added to the squared cosines' diagonal, so that gradients in one plane or line have weights too."""


def pcgrad_weights(gram: Tensor) -> Tensor:
    """PCGrad: each gradient is projected off each other one that it conflicts with, in cyclic order; then their sum.

    The original draws the order at random; a fixed one makes a sample's result repeatable.

    Args:
        gram: [N, tasks, tasks], inner products.

    Returns:
        [N, tasks], the weight of each gradient in the sum.
    """
    tasks = gram.shape[-1]
    total = torch.zeros_like(gram[:, 0])
    for first in range(tasks):
        weights = torch.zeros_like(total)
        weights[:, first] = 1
        for offset in range(1, tasks):
            other = (first + offset) % tasks
            along = (weights * gram[:, other]).sum(1)
            square = gram[:, other, other].clamp_min(torch.finfo(gram.dtype).tiny)
            weights[:, other] -= along.clamp_max(0) / square
        total += weights
    return total


def mgda_weights(gram: Tensor) -> Tensor:
    """MGDA: the point of the gradients' convex hull that is nearest to the origin.

    It is the nearest point of the plane through some of the gradients, so every set of them is tried. Iterations
    do not get there where one gradient is a thousand times another. A gradient of zero, as of a task without
    labels, would be that point itself; it is left out.

    Args:
        gram: [N, tasks, tasks], inner products.

    Returns:
        [N, tasks], weights that are at least 0 and sum to 1.
    """
    exact = gram.double()
    tasks = gram.shape[-1]
    squares = exact.diagonal(dim1=1, dim2=2)
    alive = squares > 0
    lengths = torch.where(alive, squares, 1).sqrt()
    cosines = exact / (lengths[:, :, None] * lengths[:, None, :])
    sets = subsets(tasks, gram.device)
    system = cosines[:, None] * (sets[:, :, None] & sets[:, None, :])
    system = system + torch.diag_embed(torch.where(sets, RIDGE, 1.0).double())
    solved, _ = torch.linalg.solve_ex(system, (sets / lengths[:, None])[..., None])
    weights = solved[..., 0] / lengths[:, None]
    weights = weights / weights.sum(-1, keepdim=True)
    square = torch.einsum("nsi,nij,nsj->ns", weights, exact, weights)
    allowed = (weights >= 0).all(-1) & (alive[:, None] | ~sets).all(-1)
    best = torch.where(allowed, square, torch.inf).argmin(1)
    nearest = weights[torch.arange(len(gram), device=gram.device), best]
    return torch.where(alive.any(1, keepdim=True), nearest, 1 / tasks).to(gram.dtype)


def subsets(tasks: int, device: torch.device) -> Tensor:
    """Every set of tasks but the empty one, [2^tasks - 1, tasks] bool."""
    numbers = torch.arange(1, 2**tasks, device=device)
    return (numbers[:, None] >> torch.arange(tasks, device=device)) % 2 == 1
