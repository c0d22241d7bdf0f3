"""Training one classifier: a fine-tuned encoder, or a head on a frozen one. Read top to bottom; the loop is training/loop.py's
in small.

Sources: CoCLR's, CPR's and IIC's public code (PROTOCOL 2.2, 4.1, 4.2), but for two things: the epoch that is tested is not
chosen on the test videos (5, 20), and each clip is mirrored by a coin of its own, so that ranks do not change the result.

Order, clips and dropout are functions of (seed, epoch, step), so training goes on bit for bit from what it kept.
Legend: N clips of this rank, C classes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import torch
from attrs import asdict, define, field, frozen
from torch import Tensor
from torch.nn.functional import cross_entropy

from cprspec.components.evaluators import Classifier as Options
from cprspec.components.optimizers import SGD, Adam, Step
from cprspec.errors import CprspecError, Problem
from cprspec.evaluation.bad_clips import BadClips
from cprspec.evaluation.encoders import Trained
from cprspec.evaluation.kept import Kept
from cprspec.learning.gradients import share_gradients, take_from_first
from cprspec.learning.optimizer_state import optimizer_tensors, restore_optimizer
from cprspec.models.heads import Classifier
from cprspec.runs.events import Warned
from cprspec.video.normalise import Normalise
from cprspec.video.sampling import generator
from cprspec.video.supply import Supply

DROPOUT = 211
"""Stream of random numbers."""

THRESHOLD = 1e-4
"""A plateau ends with a loss that is lower by this share: the default of torch's ReduceLROnPlateau, which IIC's code uses."""


@define
class Place:
    """How far training is: `epoch` and `step` are the next ones, `loss` the sum over the epoch's steps so far.

    `replaced`, `told`: of clips that cannot be read (bad_clips.py).
    `lowest` is the lowest validation loss. For a plateau: the loss that it began with, how many epochs ago that was, and the
    factor on the learning rate.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    lowest: float = math.inf
    plateau: float = math.inf
    waited: int = 0
    factor: float = 1.0
    replaced: int = 0
    told: list[int] = field(factory=list)


@frozen(kw_only=True)
class Task:
    """What one classifier is trained with. `name` is what is kept of it under.

    `batches(epoch, step)` gives this rank's batches from there to the end, `held_out(save)` the loss on the videos held out:
    it calls `save` before it raises what a request to stop raises.
    `heard` is called after each epoch with its number and mean loss.
    """

    name: str
    model: Classifier
    view: str
    to_input: Normalise
    options: Options
    steps_per_epoch: int
    bad_clips: BadClips
    batches: Callable[[int, int], Supply]
    label_V: Tensor
    held_out: Callable[[Callable[[], None]], float] | None
    autocast: torch.dtype | None
    trained: Trained
    kept: Kept
    heard: Callable[[int, float], None]


def train_classifier(task: Task) -> None:
    """Train the task's model to its last epoch; then it holds the weights to test, the same on every rank.

    Goes on from what an earlier attempt kept. Raises what `pause_together` raises, and CprspecError.
    """
    options, ranks = task.options, task.trained.ranks
    task.model.to(ranks.device).train()
    task.to_input.to(ranks.device)
    optimizer = build_optimizer(task.model, options)
    best: dict[str, Tensor] = {}
    place = restore(task, optimizer, best)
    parallel = share_gradients(task.model) if ranks.world > 1 else task.model
    save = partial(keep, task, optimizer, place, best)
    saved = time.monotonic()
    with task.batches(place.epoch, place.step) as batches:
        while place.epoch < options.epochs:
            if place.step < task.steps_per_epoch:  # or it was stopped while the epoch was judged
                set_learning_rate(optimizer, options, place)
                place.loss += train_step(task, parallel, optimizer, batches, place)
                place.step += 1
            if place.step == task.steps_per_epoch:
                finish_epoch(task, place, best, save)
            task.trained.pause_together(save)
            if ranks.any(time.monotonic() - saved > 60 * task.trained.resolved.launch.checkpoint_minutes):
                save()
                saved = time.monotonic()
    save()
    if best:
        task.model.load_state_dict(best)
    take_from_first(task.model, ranks)
    task.model.eval()


def build_optimizer(model: Classifier, options: Options) -> torch.optim.Optimizer:
    """The optimiser, the head's parameters in group 0 and those of a backbone that learns in group 1."""
    groups = [{"params": [*model.head.parameters()]}]
    if not model.frozen:
        groups.append({"params": [*model.backbone.parameters()]})
    if options.optimizer == "adam":
        return Adam(lr=options.lr, weight_decay=options.weight_decay).build(groups)
    return SGD(lr=options.lr, momentum=options.momentum, weight_decay=options.weight_decay).build(groups)


def set_learning_rate(optimizer: torch.optim.Optimizer, options: Options, place: Place) -> None:
    """The learning rate of the epoch: by milestones, or by what the plateau has made of it."""
    step = Step(milestones=options.milestones, gamma=options.gamma)
    factor = place.factor if options.patience else step.factor(place.epoch, options.epochs)
    lr = max(options.lr * factor, options.least_lr)
    for group, share in zip(optimizer.param_groups, (1.0, options.backbone_lr), strict=False):
        group["lr"] = lr * share


def train_step(
    task: Task, parallel: torch.nn.Module, optimizer: torch.optim.Optimizer, batches: Supply, place: Place
) -> float:
    """One optimiser step; the mean loss of all ranks' clips."""
    ranks = task.trained.ranks
    batch = next(batches)
    spent = batches.take_spent()
    clip_NTHWC = batch[task.view][:, 0].to(ranks.device, non_blocking=True)
    label_N = task.label_V[batch["video"]].to(ranks.device, non_blocking=True)
    seed = generator(task.trained.resolved.seed, DROPOUT, place.epoch, place.step, ranks.rank).integers(2**62)
    devices = [ranks.device] if ranks.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.autocast(
        ranks.device.type, task.autocast, enabled=task.autocast is not None
    ):  # fmt: skip
        torch.manual_seed(int(seed))
        scores_NC = parallel(task.to_input(clip_NTHWC))
    loss = cross_entropy(scores_NC.float(), label_N)
    of_rank = torch.stack([loss.detach(), torch.tensor(float(spent.replaced), device=ranks.device)])
    mean, replaced = ranks.mean(of_rank).tolist()
    where = f"{task.name.replace('@', ', ')}, epoch {place.epoch}, step {place.step}"
    task.bad_clips.count(place, round(replaced * ranks.world), spent.unread, where)
    if not math.isfinite(mean):
        hint = "lower the evaluation's lr"
        raise CprspecError(Problem(f"training a classifier: {where}: the loss is {mean}", hint=hint), exit_code=1)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return float(mean)


def finish_epoch(task: Task, place: Place, best: dict[str, Tensor], save: Callable[[], None]) -> None:
    """Look at the held-out videos, tell of the epoch, and move `place` to the next one."""
    if task.held_out is not None:
        take_from_first(task.model, task.trained.ranks)
        if judge_epoch(place, task.held_out(save), task.options):
            best.update({key: value.detach().clone() for key, value in task.model.state_dict().items()})
        task.model.train()
    task.heard(place.epoch, place.loss / task.steps_per_epoch)
    place.epoch, place.step, place.loss, place.replaced = place.epoch + 1, 0, 0.0, 0


def judge_epoch(place: Place, loss: float, options: Options) -> bool:
    """Take note of a validation loss, and say whether it is the lowest.

    After more than `patience` epochs on a plateau the learning rate falls.
    """
    lowest = loss < place.lowest
    if lowest:
        place.lowest = loss
    if loss < place.plateau * (1 - THRESHOLD):
        place.plateau, place.waited = loss, 0
        return lowest
    place.waited += 1
    if options.patience and place.waited % (options.patience + 1) == 0:
        place.factor *= options.gamma
    return lowest


def keep(task: Task, optimizer: torch.optim.Optimizer, place: Place, best: dict[str, Tensor]) -> None:
    """Keep everything that going on needs."""
    tensors = {f"model.{key}": value for key, value in task.model.state_dict().items()}
    tensors |= {f"best.{key}": value for key, value in best.items()}
    tensors |= optimizer_tensors(task.model, optimizer)
    facts = {**asdict(place), "world": task.trained.ranks.world}
    task.kept.put(f"{task.name}@training", tensors, {k: None if v == math.inf else v for k, v in facts.items()})


def restore(task: Task, optimizer: torch.optim.Optimizer, best: dict[str, Tensor]) -> Place:
    """Put what an earlier attempt kept into model, optimiser and `best`, and say where to go on."""
    found = task.kept.get(f"{task.name}@training")
    if found is None:
        return Place()
    tensors, facts = found
    was, now = facts.pop("world"), task.trained.ranks.world
    if was != now and not task.trained.world_size_change:
        hint = f"continue it with --nproc {was}, or with --allow-world-size-change, which gives up exactness"
        message = f"evaluation was begun by {was} processes and {now} would not continue it exactly"
        raise CprspecError(Problem(message, hint=hint))
    if was != now:
        message = (
            f"the classifier of {task.name.replace('@', ', ')} does not go on exactly: processes {was} then, {now} now"
        )
        task.trained.report(Warned(message=message))
    task.model.load_state_dict(_under("model.", tensors))
    best.update({key: value.to(task.trained.ranks.device) for key, value in _under("best.", tensors).items()})
    restore_optimizer(task.model, optimizer, tensors)
    facts.setdefault("plateau", facts["lowest"])  # earlier versions did not tell them apart
    facts |= {key: math.inf for key, value in facts.items() if value is None}
    return Place(**facts)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
