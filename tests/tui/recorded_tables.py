"""A mining table as a run would have written it, fixed to the digit: snapshots must not depend on how tables are made."""

from __future__ import annotations

CLASSES = ("bend", "jump", "run", "wave")


def table(recalls, epoch):
    """Four classes of five sources with two videos each, of which `recalls` (0..5) sources were found."""
    found = sum(recalls)
    return {
        "schema": 1, "kind": "mining", "phase": "cycle", "dataset": "toy", "epoch": epoch, "queries": 40, "picks": 120,
        "true_positives": 6 * found, "precision": found / 20, "note": None,
        "cmr": {
            unit: {
                "median": sorted(recalls)[2] / 5, "mean": found / 20, "median_random": 0.25, "mean_random": 0.26,
                "perfect": sum(r == 5 for r in recalls), "defined": 4, "undefined": 0,
            }
            for unit in ("source", "video")
        },
        "funnel": [
            {"stage": stage, "survivors": left, "true_positives": left // 5, "in_bank": 320, "precision": 0.2 + stage / 10,
             "recall": 1.0 / (stage + 1)}
            for stage, left in enumerate((1440, 480, 120))
        ],
        "classes": [
            {
                "name": name, "sources": 5, "videos": 10, "queries": 10, "picks": 30, "precision": right / 5,
                "covered_sources": right, "covered_videos": 2 * right, "cmr_source": right / 5, "cmr_video": right / 5,
                "random_source": 0.25, "random_video": 0.2,
            }
            for name, right in zip(CLASSES, recalls, strict=True)
        ],
        "examples": [
            {
                "video": 10 * i, "name": f"{name}/{i}.avi", "label": name,
                "mined": [
                    {"rank": rank, "video": rank, "name": f"{label}/{rank}.avi", "label": label, "right": label == name,
                     "stages": [3 * rank, None if rank else 0, rank]}
                    for rank, label in enumerate((name, "run", name))
                ],
            }
            for i, name in enumerate(CLASSES)
        ],
    }  # fmt: skip
