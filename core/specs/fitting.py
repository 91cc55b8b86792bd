"""Whether what a spec says of tasks fits those there are. Standard library only."""

from collections.abc import Sequence

from core.errors import under
from core.specs.attack import AttackSpec
from core.specs.attack_fields import AttackSpecError
from core.specs.training import Adversarial, Recipe, RecipeError
from core.tasks import Task


def attacked_tasks(spec: AttackSpec, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks whose losses the objective looks at: those of weight 0 are left out.

    Raises:
        AttackSpecError: the spec names a task that is not there, or none is left.
    """
    names = [task.name for task in tasks]
    for name, field in spec.named_tasks.items():
        if name not in names:
            raise AttackSpecError(f"no task {name!r} to attack; there are {', '.join(names)}", field=field)
    aim = spec.aim
    if aim is not None and aim.family == "single":
        return tuple(task for task in tasks if task.name == spec.task)
    weights = (spec.weights or {}) if aim is not None and aim.family != "stealth" else {}
    chosen_tasks = tuple(task for task in tasks if weights.get(task.name, 1) != 0)
    if not chosen_tasks:
        raise AttackSpecError("there is no task to attack", field="weights" if weights else "tasks")
    return chosen_tasks


def judged_tasks(spec: AttackSpec, attacked: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks that a sample is fooled in: those that are raised, so not the ones that stealth holds."""
    aim = spec.aim
    if aim is None or aim.family != "stealth":
        return tuple(attacked)
    return tuple(task for task in attacked if task.name in aim.tasks)


def check_adversarial(adversarial: Adversarial, tasks: Sequence[Task]) -> None:
    """Check what an adversarial training says of tasks against those there are.

    Raises:
        InvalidError: it names others, or a rule does not fit its task; `field` names the place.
    """
    with under("attack"):
        attacked = attacked_tasks(adversarial.attack, tasks)
    with under("fooled"):
        adversarial.fooled.check(judged_tasks(adversarial.attack, attacked))


def check_recipe(recipe: Recipe, tasks: Sequence[Task], *, processes: int = 1) -> None:
    """Check what a recipe says of tasks against those there are, and its batch against the processes.

    Raises:
        InvalidError: they do not fit; `field` names the place.
    """
    names = [task.name for task in tasks]
    if unknown := sorted(set(recipe.task_weights) - set(names)):
        raise RecipeError(
            f"there is no task {unknown[0]!r}; there are {', '.join(names)}",
            field=f"task_weights.{unknown[0]}",
        )
    if recipe.adversarial is not None:
        with under("adversarial"):
            check_adversarial(recipe.adversarial, tasks)
    if recipe.batch_size // recipe.accumulation < processes:
        raise RecipeError(
            f"a batch of {recipe.batch_size} in {recipe.accumulation} parts leaves some of the {processes} "
            "processes nothing to do",
            field="batch_size",
        )
