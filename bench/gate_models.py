"""The models of examples/consumer-repo: one that its gate lets through, and two that it must not.

`sturdy` is trained against attacks (friendly adversarial training), `fragile` on clean images. `masked` is `fragile`
with its heads' weights and biases times 256: it predicts exactly the same, but the softmax is so sure of itself that
the losses' gradients are 0 in float32, and gradient attacks find nothing. Only the health checks tell.

Everything is measured as the example's windthrow.yaml says, and once with the suite `quick`. Run as
`python -m bench.gate_models`; with as many threads, the same files come out bit for bit.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from core.data import open_dataset
from core.evaluation import EvaluationResult, evaluate
from core.evaluation.health import Flag
from core.evaluation.tally import AttackResult
from core.gates.policy_file import read_gate_file
from core.gates.suites import suite_evaluation
from core.models import TreeModel, build_model, load_checkpoint, save_checkpoint
from core.specs.attack import AttackSpec
from core.specs.gate_file import GateFile, SuiteName
from core.specs.manifests import ModelManifest
from core.specs.training import Adversarial, Optimiser, Recipe, Schedule
from core.training import Trainer
from worker.demo.train import round_to_half

EXAMPLE = Path(__file__).parents[1] / "examples" / "consumer-repo"
MODELS = EXAMPLE / "models"

DATASET = "digits"
SUITES: tuple[SuiteName, ...] = ("quick", "standard")

SCALE = 256.0
"""What the heads of `masked` are multiplied by. A power of two rounds nothing; on the demo's model of the digits 64 hid
the gradients of 99 % of the samples, too."""

CLEAN = Recipe(epochs=2, optimiser=Optimiser(learning_rate=4e-3), schedule=Schedule(name="one_cycle"))
ATTACK = AttackSpec(algorithm="pgd", objective="gb_mta", eps=8, steps=5, random_start=True)
FRIENDLY = replace(CLEAN, adversarial=Adversarial(attack=ATTACK, tau=2, mix="adversarial"))
"""A sample takes two steps more once both its tasks are fooled, and is trained on in the place of the clean one."""

MADE = {
    "sturdy": "trained against PGD-5 on `gb_mta`, ε = 8; samples leave two steps after being fooled",
    "fragile": "trained alike, on clean images",
    "masked": f"`fragile`, the weights and biases of its heads times {SCALE:g}",
}
"""The models, and how each is made."""

PAGE = """# The models

Three times the network `sapling`, all its layers shared by the two tasks of the data set `digits`.

| | |
|---|---|
{made}

Measured on samples of the test split that are drawn as the gate draws them, 64 for `quick` and 256 for `standard`, at
ε = 8. ARP is the average relative drop in percent, with its 95 % interval: under PGD-20 on `gb_mta`, and under the
suite's strongest attack.

| model | suite | accuracy left, right | ARP, PGD-20 | ARP, strongest | error flags |
|---|---|---|---|---|---|
{rows}

`masked` predicts what `fragile` does, on every image. It looks as sturdy as `sturdy`: its losses have no gradients that
float32 can hold, and attacks that follow gradients stay where they are. Only the flags tell.

In a checkout of Windthrow, `python -m bench.gate_models` makes the files, on two threads bit for bit, and measures
them.
"""


def main() -> None:
    """Train, write the files, measure them, and write what was found beside them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", action="store_true", help="only measure the files that are there")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    gate_file = read_gate_file((EXAMPLE / "windthrow.yaml").read_text()).file
    manifest = ModelManifest.model_validate(gate_file.model.manifest.said())
    if not options.measure:
        make(manifest)
    made = "\n".join(f"| `{name}.safetensors` | {how} |" for name, how in MADE.items())
    rows = "\n".join(row for name in MADE for row in measured(name, manifest, gate_file))
    (MODELS / "README.md").write_text(PAGE.format(made=made, rows=rows))


def make(manifest: ModelManifest) -> None:
    """Train two models and write all three."""
    MODELS.mkdir(parents=True, exist_ok=True)
    write("sturdy", trained(manifest, FRIENDLY))
    fragile = trained(manifest, CLEAN)
    write("fragile", fragile)
    with torch.no_grad():
        for parameter in fragile.heads.parameters():
            parameter.mul_(SCALE)
    write("masked", fragile)


def trained(manifest: ModelManifest, recipe: Recipe) -> TreeModel:
    """A model with its weights rounded to float16."""
    started = time.perf_counter()
    torch.manual_seed(recipe.seed)
    model = build_model(manifest.backbone, manifest.layout, manifest.task_list)
    trainer = Trainer(model, manifest.task_list, open_dataset(DATASET, "train"), recipe)
    trainer.run()
    model.load_state_dict(trainer.trained().state_dict())
    round_to_half(model)
    print(f"trained in {time.perf_counter() - started:.0f} s", flush=True)
    return model.eval()


def write(name: str, model: TreeModel) -> None:
    """Write a model's file, in float16."""
    save_checkpoint(model, MODELS / f"{name}.safetensors", dtype=torch.float16)


def measured(name: str, manifest: ModelManifest, gate_file: GateFile) -> Iterator[str]:
    """What each suite finds, as rows of a table; the attacks are printed."""
    model = load_checkpoint(
        MODELS / f"{name}.safetensors",
        backbone=manifest.backbone,
        layout=manifest.layout,
        tasks=manifest.task_list,
    )
    for suite in SUITES:
        asked = suite_evaluation(gate_file.model_copy(update={"suite": suite}), manifest.task_list)
        result = evaluate(
            model,
            open_dataset(DATASET),
            asked.attacks,
            limit=asked.dataset.limit,
            shuffle=asked.dataset.shuffle,
            health=asked.health,
        )
        print(f"\n{name}, {suite}, {result.clean.samples} samples\n{result.table()}", flush=True)
        for source, flag in found(result):
            print(f"  {flag.severity}: {source}: {flag.code} {flag.evidence}", flush=True)
        yield _row(name, suite, result)


def found(result: EvaluationResult) -> Iterator[tuple[str, Flag]]:
    """Every flag, with the attack that it is of, or "model"."""
    for attack, flags in zip(result.attacks, result.flags, strict=True):
        yield from ((attack.label, flag) for flag in flags)
    yield from (("model", flag) for flag in (result.probe.flags if result.probe else ()))


def _row(name: str, suite: str, result: EvaluationResult) -> str:
    clean = ", ".join(f"{values['accuracy']:.1f} %" for values in result.clean.metrics.values())
    naive = result.attacks[0]
    strongest = max(result.attacks, key=_arp)
    errors = ", ".join(sorted({f"`{flag.code}`" for _, flag in found(result) if flag.severity == "error"}))
    columns = (name, suite, clean, _with_interval(naive), _with_interval(strongest), errors or "none")
    return f"| {' | '.join(columns)} |"


def _arp(result: AttackResult) -> float:
    assert result.arp is not None
    assert result.arp.overall is not None
    return result.arp.overall


def _with_interval(result: AttackResult) -> str:
    assert result.interval is not None
    return f"{_arp(result):.1f} [{result.interval.low:.1f}, {result.interval.high:.1f}]"


if __name__ == "__main__":
    main()
