"""What the processes of the parallel tests do; they find it by its name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.attacks import AttackSpec
from core.specs.training import Adversarial, Augmentation, Fooled, FooledWhen, Optimiser, Recipe
from core.training import DivergenceError, StoppedError, Trainer, load_state, save_state
from core.training.parallel import Group
from core.training.team import Alone, Team
from tests.core.synthetic import small_model
from tests.core.training.runs import DENSE, Plain, Smooth, data, recipe
from tests.core.training.test_loop import Failing

SGD = Optimiser(name="sgd", learning_rate=0.02)
ADVERSARIAL = Adversarial(
    attack=AttackSpec(algorithm="pgd", norm="l2", eps=600, steps=3, random_start=True),
    tau=0,
    fooled=Fooled(rule=FooledWhen(threshold=0.02), aggregate="any"),
    omega=0.5,
    mix="both",
)
"""In the L2 norm: the sign that an L-infinity step takes makes differences of rounding as large as the step."""

CLEAN = recipe(optimiser=SGD, batch_size=7, augmentation=Augmentation(flip=True))
FRIENDLY = recipe(optimiser=SGD, batch_size=7, adversarial=ADVERSARIAL, ema=0.9)
RECIPES: dict[str, tuple[type[nn.Module] | str, Recipe]] = {
    "clean": (Smooth, CLEAN),
    "adam": (Smooth, recipe(optimiser=Optimiser(name="adam", learning_rate=1e-3), batch_size=8)),
    "friendly": (Smooth, FRIENDLY),
    "joint": (
        Smooth,
        recipe(
            optimiser=SGD,
            batch_size=8,
            accumulation=2,
            adversarial=Adversarial(attack=ADVERSARIAL.attack, mix="joint"),
        ),
    ),
    "sapling": ("independent", replace(CLEAN, iterations=3)),
    "signs": (
        "all-shared",
        recipe(
            optimiser=SGD,
            batch_size=8,
            adversarial=Adversarial(attack=AttackSpec(algorithm="pgd", eps=8, steps=3), mix="adversarial"),
            iterations=1,
        ),
    ),
}
"""By name, a kind of model (or sapling's layout) and how it is trained."""


def trained(name: str, team: Team, *, seed: int = 0) -> Trainer:
    kind, how = RECIPES[name]
    model = small_model(DENSE, kind, seed=seed) if isinstance(kind, str) else kind(seed=seed)
    trainer = Trainer(model, DENSE, data(), how, team=team)
    trainer.run()
    return trainer


def crew(group: Group, folder: Path) -> None:
    """Every recipe; processes begin with weights of their own, the first's count."""
    torch.set_num_threads(1)
    for name in RECIPES:
        save_state(trained(name, group, seed=group.rank).state_dict(), folder / f"{name}.{group.rank}")
    _stop(group, folder)
    _diverge(group, folder)
    _resume(group, folder)


def _stop(group: Group, folder: Path) -> None:
    trainer = Trainer(Plain(), DENSE, data(), CLEAN, team=group)

    def check() -> None:
        if group.rank == 1 and trainer.iteration == 2:
            raise KeyError("told to stop")

    try:
        trainer.run(check=check)
    except (KeyError, StoppedError) as error:
        (folder / f"stopped.{group.rank}").write_text(f"{type(error).__name__} {trainer.iteration}")


def _diverge(group: Group, folder: Path) -> None:
    """The second process's loss is no number."""
    model = Failing(3 if group.rank == 1 else -1)
    trainer = Trainer(model, DENSE, data(), CLEAN, team=group)
    try:
        trainer.run()
    except DivergenceError as error:
        (folder / f"diverged.{group.rank}").write_text(f"{error.task} {error.iteration} {trainer.iteration}")


def _resume(group: Group, folder: Path) -> None:
    """Two processes go on where one was stopped."""
    state: dict[str, Any] = load_state(folder / "alone")
    trainer = Trainer(Smooth(seed=group.rank), DENSE, data(), FRIENDLY, team=group)
    trainer.load_state_dict(state)
    trainer.run()
    if group.rank == 1:
        save_state(trainer.state_dict(), folder / "resumed")


def fail(group: Group) -> None:
    """What a process may do."""
    if group.rank == 1:
        raise ValueError("the second process is unwell")


def alone(name: str) -> Trainer:
    return trained(name, Alone())
