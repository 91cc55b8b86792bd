"""PGD and APGD of four attack libraries and of Windthrow on one small image classifier: time per step, and loss.

Cross entropy, L-infinity, the same eps, steps and first step size, and no random start for anybody. The images
are ones that the model gets right, as some libraries leave the others alone. Each library is given the same
model in eval mode, its parameters not frozen: Foolbox and ART differentiate them too. Time is counted in bare
steps, a forward and an input-gradient pass of that model; all contenders alternate within a round, and ratios
are medians over rounds. The loss is measured here, by one function, on the images that each attack returned:
the last ones of PGD, the best ones of APGD. Windthrow is compared as its workers run it, with the model
prepared; the line without preparation stands beside it.

The libraries live in an environment of their own, since they ask for versions that the project does not use:

    python3 -m venv ../libraries
    ../libraries/bin/pip install torch==2.13.0
    ../libraries/bin/pip install --no-deps -r bench/requirements-libraries.txt
    ../libraries/bin/pip install --no-deps git+https://github.com/fra31/auto-attack
    OMP_NUM_THREADS=1 ../libraries/bin/python -m bench.libraries --check

What is not installed is left out by name. With one thread it is CPU time that is measured.
"""

import argparse
import importlib
import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.attack_step import seconds
from core.attacks import AttackSpec, run_attack
from core.data import Batch, open_dataset
from core.models.prepare import prepare
from core.tasks import Task

Algorithm = Literal["pgd", "apgd"]
Attack = Callable[[], Tensor]
"""One run of an attack, ready to go: adversarial images [N, 3, H, W]."""

SPEED_TARGET = 1.6
"""How many times as fast as the fastest library Windthrow must be."""

LOSS_SLACK = 1e-3
"""Share of the best library's mean loss that Windthrow's may lack: what float rounding does to a trajectory."""

BALL_SLACK = 1e-6

EPS = 8 / 255
CLASSES = 10
SIDE = 32
WIDTHS = (16, 16, 32, 32, 64, 64)
"""Those of the CIFAR-10 ResNets."""
HALVED = (2, 4)
"""Positions of the layers that halve the resolution."""

BARE = "bare step"
PREPARED = "Windthrow"
UNPREPARED = "Windthrow, not prepared"


@dataclass(frozen=True, slots=True)
class Setting:
    """What every contender is given; `step_size` is the first step's where the algorithm changes it."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    steps: int
    step_size: float


@dataclass(frozen=True, slots=True)
class Library:
    """A library, how to come by it, and its attacks; an import that fails leaves it out."""

    name: str
    install: str
    attacks: Mapping[Algorithm, Callable[[Setting], Attack]]


def torchattacks_pgd(setting: Setting) -> Attack:
    """`torchattacks.PGD`."""
    kind = importlib.import_module("torchattacks").PGD
    attack = kind(setting.model, eps=EPS, alpha=setting.step_size, steps=setting.steps, random_start=False)
    return lambda: cast("Tensor", attack(setting.images, setting.labels))


def torchattacks_apgd(setting: Setting) -> Attack:
    """`torchattacks.APGD`, which always starts at noise scaled to its largest value: all others are made 0."""
    attack = importlib.import_module("torchattacks").APGD(setting.model, eps=EPS, steps=setting.steps)

    def one_value(shape: Sequence[int]) -> Tensor:
        noise = torch.full(tuple(shape), 0.5)
        noise.flatten(1)[:, 0] = 1.0
        return noise

    def run() -> Tensor:
        with mock.patch("torch.rand", one_value):
            return cast("Tensor", attack.perturb(setting.images, setting.labels, best_loss=True)[1])

    return run


def foolbox_pgd(setting: Setting) -> Attack:
    """`foolbox.attacks.LinfPGD`."""
    foolbox = importlib.import_module("foolbox")
    model = foolbox.PyTorchModel(setting.model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=setting.step_size, steps=setting.steps, random_start=False)
    criterion = foolbox.criteria.Misclassification(setting.labels)
    return lambda: cast("Tensor", attack.run(model, setting.images, criterion, epsilon=EPS))


def art_pgd(setting: Setting) -> Attack:
    """ART's `ProjectedGradientDescent`, which takes and gives NumPy arrays."""
    attack = importlib.import_module("art.attacks.evasion").ProjectedGradientDescent(
        art_classifier(setting),
        eps=EPS,
        eps_step=setting.step_size,
        max_iter=setting.steps,
        batch_size=len(setting.images),
        verbose=False,
    )
    images, labels = setting.images.numpy(), setting.labels.numpy()
    return lambda: torch.from_numpy(attack.generate(images, labels))


def art_apgd(setting: Setting) -> Attack:
    """ART's `AutoProjectedGradientDescent`.

    It starts at noise, which is made 0 here, and gives the noise back where an image is still classified right;
    the best images, which it keeps, are taken instead.
    """
    module = importlib.import_module("art.attacks.evasion.auto_projected_gradient_descent")
    attack = module.AutoProjectedGradientDescent(
        art_classifier(setting),
        eps=EPS,
        eps_step=setting.step_size,
        max_iter=setting.steps,
        nb_random_init=1,
        batch_size=len(setting.images),
        verbose=False,
    )
    images, labels = setting.images.numpy(), setting.labels.numpy()

    def run() -> Tensor:
        with mock.patch.object(module, "random_sphere", lambda count, size, *_: np.zeros((count, size))):
            attack.generate(images, labels)
        return torch.from_numpy(attack.x_max)

    return run


def art_classifier(setting: Setting) -> Any:
    """The model as ART wants it."""
    return importlib.import_module("art.estimators.classification").PyTorchClassifier(
        setting.model,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(setting.images.shape[1:]),
        nb_classes=CLASSES,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def autoattack_apgd(setting: Setting) -> Attack:
    """AutoAttack's `APGDAttack`; a single run takes a start, and saves the forward pass that `perturb` begins with."""
    kind = importlib.import_module("autoattack.autopgd_base").APGDAttack
    attack = kind(setting.model, n_iter=setting.steps, norm="Linf", eps=EPS, loss="ce")
    attack.init_hyperparam(setting.images)
    images, labels = setting.images, setting.labels
    return lambda: cast("Tensor", attack.attack_single_run(images, labels, x_init=images)[0])


WITH_REQUIREMENTS = "pip install --no-deps -r bench/requirements-libraries.txt"
LIBRARIES = (
    Library("torchattacks", WITH_REQUIREMENTS, {"pgd": torchattacks_pgd, "apgd": torchattacks_apgd}),
    Library("Foolbox", WITH_REQUIREMENTS, {"pgd": foolbox_pgd}),
    Library("ART", WITH_REQUIREMENTS, {"pgd": art_pgd, "apgd": art_apgd}),
    Library(
        "AutoAttack",
        "pip install --no-deps git+https://github.com/fra31/auto-attack",
        {"apgd": autoattack_apgd},
    ),
)


class Named(nn.Module):
    """A classifier as a multi-task model of one task."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """[N, 3, H, W] to {"label": [N, classes]}."""
        return {"label": self.classifier(images)}


def windthrow(setting: Setting, algorithm: Algorithm, *, prepared: bool) -> Attack:
    """Windthrow's attack on the model, prepared beforehand or as it is."""
    model: nn.Module = Named(setting.model)
    if prepared:
        model = prepare(model, setting.images).module
    batch = Batch(setting.images, {"label": setting.labels})
    tasks = (Task("label", "classification", CLASSES),)
    spec = AttackSpec(
        algorithm=algorithm,
        objective="single:label",
        eps=EPS,
        steps=setting.steps,
        step_size=setting.step_size,
    )
    return lambda: run_attack(model, batch, tasks, spec).images


def bare_steps(predict: Callable[[Tensor], Sequence[Tensor]], images: Tensor, *, steps: int) -> Attack:
    """As many forward and input-gradient passes, from fixed cotangents; the images come out as they were."""
    with torch.no_grad():
        cotangents = [torch.ones_like(prediction) for prediction in predict(images)]

    def run() -> Tensor:
        for _ in range(steps):
            leaf = images.detach().requires_grad_()
            torch.autograd.grad(predict(leaf), leaf, cotangents)
        return images

    return run


def contenders(setting: Setting, algorithm: Algorithm) -> dict[str, Attack]:
    """Everybody who has the algorithm and is installed, the bare step first."""
    found = {BARE: bare_steps(lambda images: (setting.model(images),), setting.images, steps=setting.steps)}
    for library in LIBRARIES:
        if algorithm not in library.attacks:
            print(f"  {library.name} has no {algorithm.upper()}")
            continue
        try:
            found[library.name] = library.attacks[algorithm](setting)
        except ImportError as error:
            print(f"  {library.name} is left out ({error}): {library.install}")
    for name, prepared in ((UNPREPARED, False), (PREPARED, True)):
        found[name] = windthrow(setting, algorithm, prepared=prepared)
    return found


def alternating(runs: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Seconds of each run in every round; who comes first moves on by one each round. Warm them up before."""
    names = list(runs)
    took: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            took[name].append(seconds(runs[name]))
    return took


def ratio(took: Sequence[float], over: Sequence[float]) -> float:
    """Median over rounds of one time in units of another."""
    return statistics.median(mine / other for mine, other in zip(took, over, strict=True))


def sample_losses(setting: Setting, images: Tensor) -> Tensor:
    """Cross entropy of the model at each of these images, [N]."""
    with torch.no_grad():
        return F.cross_entropy(setting.model(images), setting.labels, reduction="none")


def outside(images: Tensor, clean: Tensor, *, eps: float) -> float:
    """How far any value is outside the ball around the clean images or outside [0, 1]; 0 for all inside."""
    beyond = ((images - clean).abs() - eps).amax(), -images.amin(), images.amax() - 1
    return max(0.0, *(float(excess) for excess in beyond))


def compare(setting: Setting, algorithm: Algorithm, *, rounds: int) -> bool:
    """Print one algorithm's table; whether the targets were met by images inside the ball."""
    print(f"{algorithm.upper()}, {setting.steps} steps, first step {255 * setting.step_size:.1f}/255")
    runs = contenders(setting, algorithm)
    images = {name: run() for name, run in runs.items()}
    losses = {name: sample_losses(setting, adversarial) for name, adversarial in images.items()}
    strays = {name: outside(adversarial, setting.images, eps=EPS) for name, adversarial in images.items()}
    took = alternating(runs, rounds=rounds)
    print(f"  {'':24s}{'ms/step':>9s}{'/ bare':>9s}{'/ Windthrow':>13s}{'mean loss':>11s}")
    for name in runs:
        milliseconds = 1000 * statistics.median(took[name]) / setting.steps
        over_bare, over_ours = ratio(took[name], took[BARE]), ratio(took[name], took[PREPARED])
        print(
            f"  {name:24s}{milliseconds:9.2f}{over_bare:9.3f}{over_ours:13.3f}{float(losses[name].mean()):11.4f}"
            + (f"  OUTSIDE THE BALL by {strays[name]:.1e}" if strays[name] > BALL_SLACK else "")
        )
    rivals = [name for name in runs if name not in (BARE, PREPARED, UNPREPARED)]
    if not rivals:
        print("  no library is installed")
        return False
    fast, strong = fast_enough(rivals, took), strong_enough(rivals, losses)
    return fast and strong and max(strays.values()) <= BALL_SLACK


def fast_enough(rivals: Sequence[str], took: Mapping[str, Sequence[float]]) -> bool:
    """Print how Windthrow stands against the fastest library."""
    fastest = min(rivals, key=lambda name: ratio(took[name], took[PREPARED]))
    speed = ratio(took[fastest], took[PREPARED])
    met = speed >= SPEED_TARGET
    print(f"  {speed:.2f} x as fast as {fastest} (target {SPEED_TARGET})" + ("" if met else "  MISSED"))
    return met


def strong_enough(rivals: Sequence[str], losses: Mapping[str, Tensor]) -> bool:
    """Print how Windthrow's loss differs from the highest one of a library, with the paired standard error."""
    strongest = max(rivals, key=lambda name: float(losses[name].mean()))
    gain = (losses[PREPARED] - losses[strongest]) / losses[strongest].mean()
    mean, error = float(gain.mean()), float(gain.std()) / math.sqrt(len(gain))
    met = mean >= -LOSS_SLACK
    print(
        f"  loss {mean:+.2%} ± {error:.2%} against {strongest} (target {-LOSS_SLACK:+.2%})"
        + ("" if met else "  MISSED")
    )
    return met


def plain_cnn() -> nn.Sequential:
    """Six times convolution, batch norm and ReLU; an average over all pixels; one linear layer."""
    layers: list[nn.Module] = []
    incoming = 3
    for position, width in enumerate(WIDTHS):
        stride = 2 if position in HALVED else 1
        layers += [
            nn.Conv2d(incoming, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        incoming = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(incoming, CLASSES))


def digits(split: str, count: int) -> tuple[Tensor, Tensor]:
    """The left halves of the first samples of the digits: images [count, 3, 32, 32] and their classes."""
    batch = open_dataset("digits", split).batch(range(count))
    return batch.images[..., :SIDE].contiguous(), batch.labels["left"]


def trained_cnn(*, samples: int = 1024, epochs: int = 6) -> nn.Sequential:
    """The classifier after some seconds of training: the same at every call on the same machine."""
    torch.manual_seed(0)
    model = plain_cnn()
    images, labels = digits("train", samples)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(samples).view(-1, 64):
            optimiser.zero_grad()
            F.cross_entropy(model(images[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return model.eval()


def correct_images(model: nn.Module, count: int) -> tuple[Tensor, Tensor]:
    """The first test images, and their classes, that the model gets right."""
    images, labels = digits("test", 2 * count)
    with torch.no_grad():
        right = (model(images).argmax(1) == labels).nonzero().flatten()[:count]
    return images[right], labels[right]


def main() -> int:
    """Compare both algorithms; 1 with `--check` when a target was missed or an image lies outside its ball."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each contender, paired")
    parser.add_argument("--steps", type=int, default=20, help="steps of each attack")
    parser.add_argument("--images", type=int, default=64, help="images, attacked at once")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = trained_cnn()
    images, labels = correct_images(model, options.images)
    print(f"CNN of {len(WIDTHS)} layers, {len(images)} digits of {SIDE}x{SIDE}, eps {255 * EPS:.0f}/255")
    first_steps: dict[Algorithm, float] = {"pgd": 2.5 * EPS / options.steps, "apgd": 2 * EPS}
    met = [
        compare(Setting(model, images, labels, options.steps, step_size), algorithm, rounds=options.rounds)
        for algorithm, step_size in first_steps.items()
    ]
    return 1 if options.check and not all(met) else 0


if __name__ == "__main__":
    sys.exit(main())
