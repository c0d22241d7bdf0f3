"""Makes small run directories as a run would leave them."""

from __future__ import annotations

import time

import numpy as np

from cprspec.runs import events
from cprspec.runs.files import atomic_write_json, atomic_write_text
from cprspec.runs.layout import RunDir
from cprspec.training.ledger import Ledger

RESOLVED = """
format = 1
name = "{name}"
seed = {seed}
{extra}
[phase.rgb]
views = ["rgb"]
epochs = 2
seed = {seed}
[phase.cycle]
views = ["rgb"]
mine_with = "rgb"
epochs = 2
lr = {lr}
seed = {seed}
[launch]
workers = {seed}
[[published]]
metric = "median_cmr"
value = 0.833
where = "{where}"
[[published]]
metric = "R@1"
value = 0.567
where = "abstract"
encoder = "cycle"
"""


def log_phases(log, phases=("rgb", "cycle"), loss=1.5):
    """Two epochs of four steps of each phase."""
    log.write(events.RunStarted(name="x", seed=0, phases=phases, world_size=1, version="0"))
    for position, phase in enumerate(phases):
        log.write(
            events.PhaseStarted(
                phase=phase, position=position, of=len(phases), views=("rgb",), miner="cascade" if position else None,
                epochs=2, steps_per_epoch=4, reused_from=None,
            )
        )  # fmt: skip
        for step in range(8):
            log.write(step_event(phase, step, loss))
            if step % 4 == 3:
                log.write(epoch_event(phase, step // 4, loss))
        log.write(events.PhaseFinished(phase=phase, seconds_s=1.0, weights_sha256="0" * 64))
    log.write(events.RunFinished(seconds_s=2.0))


def step_event(phase, step, loss=1.0):
    return events.Step(
        phase=phase, epoch=step // 4, step=step, loss=loss, lr=1e-3, own_key_accuracy=0.5, spread=0.9, step_s=0.1,
        wait_s=0.01, clips_per_s=160.0, warm_up=False,
    )  # fmt: skip


def epoch_event(phase, epoch, loss=1.0):
    return events.Epoch(
        phase=phase, epoch=epoch, step=(epoch + 1) * 4, loss=loss, own_key_accuracy=0.5, precision=None,
        cmr_source_median=None, cmr_video_median=None, clips_per_s=160.0, seconds_s=0.4, rss_gib=0.5,
    )  # fmt: skip


def mining_table(quality, seed=0, classes=("a", "b", "c", "d"), picks=3, phase="cycle"):
    """A table over 4 classes x 5 sources x 2 videos; a pick is right with probability `quality`."""
    rng = np.random.default_rng(seed)
    label, source = np.repeat(np.arange(4), 10), np.arange(40) // 2
    ledger = Ledger(label, source, np.arange(40), classes, phase=phase, dataset="toy")
    for q in range(40):
        right = np.flatnonzero((label == label[q]) & (source != source[q]))
        wrong = np.flatnonzero(label != label[q])
        row = [rng.choice(right if rng.random() < quality else wrong) for _ in range(picks)]
        ledger.add([q], np.array([row], np.int64).reshape(1, picks), np.array([[36, 8, 8], [picks, 1, 8]]))
    return ledger.finish(1)


def write_run(
    runs, name="toy", seed=0, lr=0.1, quality=0.5, extra="", where="supplement", state="finished", loss=1.5,
    classes=("a", "b", "c", "d"), picks=3, recall=0.4, encoder="cycle", mined=True, age_s=0.0, why=None,
) -> RunDir:  # fmt: skip
    """A run of two phases, the second of which mined, with a retrieval result."""
    run = RunDir.create(runs, name)
    atomic_write_text(run.resolved, RESOLVED.format(name=name, seed=seed, lr=lr, extra=extra, where=where))
    with events.EventLog(run.events) as log:
        log_phases(log, loss=loss)
    if mined:
        table = mining_table(quality, seed, classes, picks)
        atomic_write_json(run.mining_table("cycle", 0), mining_table(0.0, seed, classes, picks).to_json())
        atomic_write_json(run.mining_table("cycle", 1), table.to_json())
    base = {
        "n": 40,
        "dataset": "toy",
        "split": "test",
        "protocol": "retrieval-default",
        "unit": "video",
        "seed": seed,
    }
    records = [
        {"metric": metric, "value": value, "encoder": name, **base}
        for name, shift in (("random/rgb", -0.1), (encoder, 0.0), ("rgb+cycle", 0.1))
        for metric, value in (
            ("R@1", recall + shift), ("R@5", recall + 0.1), ("R@10", 0.6), ("R@20", 0.7), ("R@50", 0.8), ("mAP", 0.3),
        )
    ]  # fmt: skip
    atomic_write_json(
        run.evaluation("nn"),
        {"schema": 1, "kind": "evaluation", "name": "nn", "use": "retrieval", "records": records},
    )
    atomic_write_json(
        run.status,
        {
            "schema": 1, "kind": "status", "state": state, "phase": "cycle", "epoch": 1, "step": 7, "pid": 1,
            "host": "h", "heartbeat": time.time() - age_s, "why": why,
        },
    )  # fmt: skip
    return run
