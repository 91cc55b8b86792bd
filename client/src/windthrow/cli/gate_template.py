"""The gate file that `windthrow init` writes: all fields, each with what it means; optional ones as comments."""

TEMPLATE = """\
# windthrow.yaml: what a model of this repository must keep to ship. `windthrow gate` decides it.
# What is optional stands as a comment without a space after the #: take the # away to say it.
# `windthrow gate --check` reads this file and runs nothing.

# Of this language.
version: 1

# The model that is gated.
model:
  # The checkpoint, from the repository's root: safetensors, or what torch.save makes of weights.
  file: $file
  # What it is called at the service, the file's name unless said; and what its baselines are kept under: of several
  # models in one repository, each has a name here.
  #name: $name
  # What the file does not tell by itself.
  ${manifest_mark}manifest:
    # The tasks, in order: a profile's name (scenes, digits, nyuv2, taskonomy, cityscapes), or one written out.
    ${profile_mark}profile: $profile
    # The network: sapling, deeplab_resnet34, mobilenet_v2, or one written out.
    ${backbone_mark}backbone: $backbone
    # Which tasks share which stages: all-shared, independent, {index: 14}, or levels written out.
    ${layout_mark}layout: $layout

# The samples: the first `limit` of a split; as many as the suite says unless said.
dataset:
  name: $dataset
  #split: test
  #limit: 256
  # The seed of the order that they are taken in, so that the first are a random draw. null: as the data set has them.
  #shuffle: 0

# What it is attacked with.
#   quick     PGD-20 on two objectives, 64 samples: a smoke test
#   standard  with APGD-50 and every task by itself, 256 samples, and checks that the attacks can be trusted
#   thorough  with AutoMTA, restarts and an attack without gradients, 1024 samples
# Or attacks written out: {attacks: [{algorithm: fgsm, objective: gb_mta, eps: 8}], samples: 100}; then leave eps out.
suite: $suite

# Radii of the attacks' balls, in pixel steps of 1/255.
#eps: [8]

# Look at fewer samples first, and stop there if nothing more can change it. False looks at all of them at once.
#stop_early: true

# Where the suite does not settle it: up to so many samples, then up to so many times the steps, then restarts.
#escalate: {samples: 1024, effort: 4}

# The attack of rules on transferability.
#transferability: {algorithm: pgd, eps: 8, steps: 20}

# What rules that say no_worse_than_baseline_by compare with: the evaluation that was set for a branch or a tag
# (`windthrow gate --set-baseline`, `windthrow baseline set`); or a model at the service: {model: its id}.
#baseline: {branch: main}

# How long a CI waits. The jobs go on after that, and the next run finds them.
#deadline_minutes: 60

# What comes of a run that got no verdict, such as when the service is down: fail, or warn and pass.
#on_service_error: fail

# What it must keep; each rule holds a number against one limit: at_most, at_least or no_worse_than_baseline_by.
# `attacks` says which attacks a rule is about, by algorithm, objective, eps, norm or min_steps; all unless said.
# `strict: false` looks at the estimate and not at all of its 95 % interval; `level: warn` says it and does not fail.
rules:
  # ARP, how much an attack harms the model over all tasks, in percent. Begin with what today's model keeps:
  # `windthrow gate --dry-run` tries this file on evaluations that there are.
  - {name: attacked, on: arp, at_most: 60}
  #- {name: long attacks, on: arp, attacks: {min_steps: 50}, at_most: 60}
  #- {name: no step back, on: arp, no_worse_than_baseline_by: 2}
  # One task's ARP.
  #- {name: $task attacked, on: task_arp, task: $task, at_most: 60, level: warn}
  # A metric on clean images, in its unit.
  #- {name: clean, on: metric, task: $task, metric: $metric, at_least: $floor, strict: false}
  # Accuracy on clean images against the baseline, over all metrics, in percent.
  #- {name: price, on: ara, no_worse_than_baseline_by: 3}
  # How much sturdier than the baseline, in points of ARP.
  #- {name: sturdier, on: robust_gain, at_least: 0}
  # How much of the harm of an attack on one task reaches the others.
  #- {name: contained, on: transferability, at_most: 1.5}
  # The attacks can be trusted: the checks ran and found no error. Not with quick, which does not look.
  ${health_mark}- {name: trust, on: health}

# Rules that may be unmet for a while.
#waivers:
  #- {rule: attacked, reason: being retrained, expires: 2099-12-31}
"""

CLEAN = {
    "digits": ("left", "accuracy", "80"),
    "scenes": ("segmentation", "miou", "40"),
    "nyuv2": ("segmentation", "miou", "40"),
    "taskonomy": ("segmentation", "miou", "40"),
    "cityscapes": ("segmentation", "miou", "40"),
}
"""A task of a profile, one of its metrics, and a limit to begin with."""
