"""The page that `bench.study` writes. Every sentence with a number in it is computed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bench.study_findings import findings
from bench.study_words import Json, bounded, main_columns, name_of, out_of, short, table

ARROWS = {"higher": "↑", "lower": "↓"}


def write_page(found: Json, *, name: str) -> str:
    """The whole page, in Markdown."""
    results = found["results"]
    sections = [
        _introduction(found, name),
        _findings(results),
        _ranking(results, name),
        _robustness(results),
        _accuracy(results),
        _transferability(results, name),
        _pareto(results, name),
        _health(results),
        _settings(found["facts"], found["study"]),
    ]
    return "\n".join(line for section in sections for line in (*section, "")).rstrip("\n") + "\n"


def _introduction(found: Json, name: str) -> Iterator[str]:
    results, facts = found["results"], found["facts"]
    layouts, modes, data = results["layouts"], results["modes"], results["dataset"]
    levels = ", ".join(f"{layout['sharing_level']}L" for layout in layouts)
    yield f"# A study of {len(layouts)} layouts and {len(modes)} ways of training, on `{name}`"
    yield ""
    yield f"Written by `python -m bench.study`; what the service answered is `{name}.json`, rounded."
    yield ""
    yield (
        f"{len(results['cells'])} models of {', '.join(results['metrics'])}: each of {len(layouts)} layouts ({levels}, "
        f"by how many of {layouts[0]['levels']} levels all tasks share), trained clean, and from there on against each "
        f"of {len(modes) - 1} attacks by FAT. {len(results['attacks'])} attacks on each model, on {data['limit']} "
        f"samples of the {data['split']} split. {facts['seconds']} s ({facts['seconds'] / 60:.0f} minutes) from the "
        f"first part to the last: {facts['workers']} workers of one thread, {facts['machine']}, torch {facts['torch']}."
    )
    yield ""
    yield (
        "Brackets are 95 % intervals by bootstrap over samples, those of differences paired. They say how the numbers "
        "would vary with other images, not with other training runs: every model was trained once. Something is *above "
        "0* or *below 0* where its interval excludes 0."
    )


def _findings(results: Json) -> Iterator[str]:
    yield "## What holds here"
    yield ""
    for found in findings(results):
        yield f"- **{found.claim}: {found.verdict}.** {found.evidence}"


def _ranking(results: Json, name: str) -> Iterator[str]:
    baseline = results["modes"][0]["name"]
    rankings = [one for one in results["rankings"] if one["mode"] == baseline]
    if not rankings:
        return
    yield f"## Overall ARP, models trained {baseline}"
    yield ""
    yield "In percent, the mean over the layouts as in the paper's Figure 2; higher is a stronger attack."
    yield ""
    yield f"![Overall ARP by eps]({name}-arp.svg)"
    for algorithm in dict.fromkeys(one["algorithm"] for one in rankings):
        yield ""
        yield from _ranked(algorithm, [one for one in rankings if one["algorithm"] == algorithm])
    ranked = {entry["attack"] for one in rankings for entry in one["objectives"]}
    alone = [
        f"{attack['label']} {bounded(entry['arp'])}"
        for attack, entry in zip(results["attacks"], results["matrix"][0], strict=True)
        if attack["position"] not in ranked
    ]
    if alone:
        yield ""
        yield f"Beside these: {'; '.join(alone)}."


def _ranked(algorithm: str, rankings: Sequence[Json]) -> Iterator[str]:
    """One algorithm's objectives, a column for each eps, in the order of the last."""
    objectives = [entry["objective"] for entry in rankings[-1]["objectives"]]
    head = [algorithm.upper(), *(f"eps {one['eps']:g} (first on)" for one in rankings)]
    rows = []
    for objective in objectives:
        found = [entry for one in rankings for entry in one["objectives"] if entry["objective"] == objective]
        rows.append(
            [name_of(objective), *(f"{bounded(entry['arp'])} ({entry['first_on']})" for entry in found)]
        )
    yield from table(head, rows)


def _robustness(results: Json) -> Iterator[str]:
    columns = main_columns(results)
    attack = results["attacks"][columns[0]]
    objectives = [name_of(results["attacks"][column]["objective"]) for column in columns]
    rows = list(zip([mode["name"] for mode in results["modes"]], results["matrix"], strict=True))
    yield f"## Adversarial training under {attack['algorithm'].upper()} of eps {attack['eps']:g}"
    yield ""
    yield "Overall ARP in percent by mode and attack, as in the paper's Table 3; the strongest attack in bold."
    yield ""
    yield from table(
        ["trained", *objectives],
        ([mode, *_bold([row[column]["arp"] for column in columns])] for mode, row in rows),
    )
    if len(rows) > 1:
        yield ""
        yield "Points of ARP less than the same layout trained clean, and on how many layouts that is above 0:"
        yield ""
        yield from table(
            ["trained", *objectives],
            ([mode, *(_gained(row[column]) for column in columns)] for mode, row in rows[1:]),
        )


def _bold(arps: Sequence[Json]) -> list[str]:
    values = [arp["value"] for arp in arps if arp["value"] is not None]
    return [bounded(arp, bold=bool(values) and arp["value"] == max(values)) for arp in arps]


def _gained(entry: Json) -> str:
    return f"{bounded(entry['robust_gain'])} ({out_of(entry['gain_layouts'], 'above_0')})"


def _accuracy(results: Json) -> Iterator[str]:
    metrics = [
        (task, metric, info) for task, known in results["metrics"].items() for metric, info in known.items()
    ]
    yield "## Clean accuracy after training"
    yield ""
    yield "The mean over the layouts, as in the paper's Table 13; ARA in percent against the same layout trained clean."
    yield ""
    named = (f"{task} {metric} {info['unit']} {ARROWS[info['direction']]}" for task, metric, info in metrics)
    yield from table(
        ["trained", *(" ".join(name.split()) for name in named), "ARA"],
        (
            [
                row["mode"],
                *(short(row["metrics"][task][metric]["value"]) for task, metric, _ in metrics),
                "" if row["ara"] is None else bounded(row["ara"]["overall"]),
            ]
            for row in results["accuracy"]
        ),
    )


def _transferability(results: Json, name: str) -> Iterator[str]:
    found = results["transferability"]
    if found is None:
        return
    attack = found["attack"]
    yield f"## Transferability, {attack['algorithm'].upper()} of eps {attack['eps']:g}"
    yield ""
    yield "Paper Eq. 11, Figure 4 and Table 12: the mean ARP of the other tasks over that of the attacked one."
    yield ""
    yield f"![Transferability by sharing level]({name}-transferability.svg)"
    for mode in found["modes"]:
        tasks = list(results["metrics"])
        yield ""
        yield from table(
            [f"trained {mode['mode']}", *(f"SINGLE-{task}" for task in tasks), "mean"],
            (
                [
                    f"{row['sharing_level']}L",
                    *(_transferred(row["tasks"][task]) for task in tasks),
                    "–" if row["mean"] is None else f"{row['mean']:.2f}",
                ]
                for row in mode["layouts"]
            ),
        )


def _transferred(entry: Json) -> str:
    if entry["value"] is None:
        return f"undefined: {entry['undefined']}"
    return bounded(entry, digits=2) + (" (unstable)" if entry["unstable"] else "")


def _pareto(results: Json, name: str) -> Iterator[str]:
    found = results["pareto"]
    if found is None:
        return
    levels = [layout["sharing_level"] for layout in results["layouts"]]
    reference = found["reference"]
    yield "## Clean accuracy against robustness"
    yield ""
    yield (
        f"ARA of each model against one of them ({levels[reference['layout']]}L, {reference['mode']}), and ARP under "
        f"whichever attack of eps {found['eps']:g} is the strongest on it. No other model beats those on the front in "
        "both."
    )
    yield ""
    yield f"![Clean accuracy against robustness]({name}-pareto.svg)"
    yield ""
    yield from table(
        ["front", "trained", "ARA %", "ARP %", "strongest attack"],
        (
            [
                f"{levels[point['layout']]}L",
                point["mode"],
                bounded(point["ara"]),
                bounded(point["arp"]),
                results["attacks"][point["attack"]]["label"],
            ]
            for point in sorted(found["points"], key=_arp)
            if point["front"]
        ),
    )


def _arp(point: Json) -> float:
    return float(point["arp"]["value"])


def _health(results: Json) -> Iterator[str]:
    raised: Counter[tuple[str, str]] = Counter()
    for cell in results["cells"]:
        for flag in cell["flags"]:
            raised[flag["code"], flag["severity"]] += flag["count"]
    unreliable = sum(not cell["reliable"] for cell in results["cells"])
    yield "## Health"
    yield ""
    yield f"Evaluations with an error flag: {unreliable} of {len(results['cells'])}."
    for (code, severity), count in raised.most_common():
        yield f"- `{code}` ({severity}): {count} times"


def _settings(facts: Json, study: Json) -> Iterator[str]:
    scale, (first, *others) = facts["scale"], study["modes"]
    samples = study["dataset"]["limit"]
    yield "## Settings"
    yield ""
    yield (
        f"- `{study['model']['backbone']}`, trained on {'all' if samples is None else samples} samples of the "
        f"{study['dataset']['split']} split; seed {facts['seed']}"
    )
    yield f"- {first['name']}: {_recipe(first['recipe'])}"
    if others:
        adversarial = others[0]["recipe"]["adversarial"]
        attack = adversarial["attack"]
        yield (
            f"- FAT, from those weights: {_recipe(others[0]['recipe'])}; {attack['algorithm'].upper()} of eps "
            f"{attack['eps']:g}, K = {attack['steps']}, tau = {adversarial['tau']}; a sample is fooled when the loss "
            f"of {adversarial['fooled']['aggregate']} of the attacked tasks is up by half; mix {adversarial['mix']}"
        )
    said = study["evaluation"]["dataset"]
    yield (
        f"- attacks: PGD of {scale['steps']} and APGD of {scale['strong_steps']} steps, without random start, on the "
        f"first {said['limit']} samples of the {said['split']} split"
    )
    yield f"- windthrow-server {facts['service']}, torch {facts['torch']}"


def _recipe(recipe: Json) -> str:
    optimiser = recipe["optimiser"]
    weights: Mapping[str, float] = recipe["task_weights"]
    weighted = [f"{task} {weight:g}" for task, weight in weights.items()]
    length = f"{recipe['epochs']} epochs" if "epochs" in recipe else f"{recipe['iterations']} iterations"
    return (
        f"{length} of batches of {recipe['batch_size']}, {optimiser['name']} at {optimiser['learning_rate']:g}, "
        f"{recipe['schedule']['name']}, task weights {', '.join(weighted)}"
    )
