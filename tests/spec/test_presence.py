"""What `check --data` says about videos that are there and that are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import evolve

from cprspec.data.index import Index, Video
from cprspec.errors import Problem
from cprspec.spec.presence import index_facts, read_indices
from cprspec.spec.schema import Resolved

Read = Callable[..., Resolved]

LONG = ("phase.rgb.epochs=20", "phase.flow.epochs=20")
"""Enough steps for 64 videos, so that nothing is said of them."""


def _index(sources: Sequence[int], labels: Sequence[int | None], tests: int = 0) -> Index:
    """One training video for each entry, and `tests` test videos of the first class."""
    videos = [
        Video(Path(f"{i}.mp4"), f"{i}.mp4", label, source, "train", 1)
        for i, (source, label) in enumerate(zip(sources, labels, strict=True))
    ]
    videos += [Video(Path(f"t{i}.mp4"), f"t{i}.mp4", labels[0], 900 + i, "test", 1) for i in range(tests)]
    names = {label for label in labels if label is not None}
    return Index(tuple(f"class {n}" for n in sorted(names)), tuple(str(s) for s in sources), tuple(videos))


def _look(resolved: Resolved, index: Index, tmp_path: Path) -> list[Problem]:
    dataset = resolved.datasets["clips"]

    class There(type(dataset)):  # type: ignore[misc]
        """The data set with an index that needs no files."""

        def build(self, root: Path) -> Index:
            return index

    found = evolve(resolved, datasets={"clips": There()}, roots={"clips": tmp_path})
    return read_indices(found, tmp_path)[1]


def _texts(problems: Sequence[Problem]) -> list[str]:
    return [p.message for p in problems]


def test_enough_says_nothing(good: str, read: Read, tmp_path: Path) -> None:
    index = _index(range(64), [i % 4 for i in range(64)], tests=3)
    assert _look(read(good, *LONG), index, tmp_path) == []


def test_few_steps(good: str, read: Read, tmp_path: Path) -> None:
    (problem,) = _look(
        read(good, "phase.flow.epochs=12"), _index(range(64), [i % 4 for i in range(64)], tests=3), tmp_path
    )
    assert problem.warning
    assert problem.message == (
        "64 videos are few: 80 steps in all from random weights (8 an epoch, 10 epochs) teach next to nothing "
        "(phases 'rgb', 'flow')"
    )
    assert problem.hint == "more videos, a smaller batch_size, or about 57 epochs"


def test_a_queue_that_is_never_full(good: str, read: Read, tmp_path: Path) -> None:
    index = _index(range(64), [i % 4 for i in range(64)], tests=3)
    (problem,) = _look(read(good, *LONG, "phase.cycle.epochs=1"), index, tmp_path)
    assert problem.warning
    assert problem.message == (
        "phase 'cycle' will mine and learn nothing: its queue of 64 takes 8 steps to fill, and it has 8"
    )
    assert problem.hint == "a smaller framework.queue_size, or more than 1 epochs"
    assert _look(read(good, *LONG, "phase.cycle.epochs=2"), index, tmp_path) == []


def test_facts() -> None:
    facts = index_facts("d", _index([0, 0, 1, 2, 3, 3], [0, 0, 0, 0, 1, 1], tests=2))
    assert facts == {
        "name": "d", "classes": 2, "train_videos": 6, "train_sources": 4, "test_videos": 2, "sources_per_class": [1, 3],
    }  # fmt: skip
    assert index_facts("d", _index([0, 1], [None, None]))["sources_per_class"] is None


def test_too_few_videos(good: str, read: Read, tmp_path: Path) -> None:
    problems = _look(read(good, *LONG), _index(range(7), [0] * 7, tests=1), tmp_path)
    assert [(p.message, p.warning) for p in problems] == [
        ("7 videos to train on are fewer than one batch of 8", False),
        ("the queue of 64 is larger than the 7 videos to train on", True),
    ]
    assert str(problems[0].place) == "x.toml:3:10"


def test_one_source(good: str, read: Read, tmp_path: Path) -> None:
    problems = _look(read(good, *LONG), _index([0] * 64, [0] * 64, tests=1), tmp_path)
    assert _texts(problems) == ["every training video has the same source, so nothing can be mined"]


def test_labels_and_test_videos(good: str, read: Read, tmp_path: Path) -> None:
    problems = _look(read(good, "miner.use=oracle", *LONG), _index(range(64), [None] * 64), tmp_path)
    assert _texts(problems) == [
        "phase 'cycle' mines by labels, and data set 'clips' has none",
        "evaluation 'nn' needs labels, and data set 'clips' has none",
        "evaluation 'nn' needs test videos, and data set 'clips' has none",
    ]


def test_missing_weights(good: str, read: Read, tmp_path: Path) -> None:
    resolved = read(good.replace('start_from = "rgb"', 'start_from = { file = "w.safetensors" }'), *LONG)
    index = _index(range(64), [0] * 64, tests=1)
    (problem,) = _look(resolved, index, tmp_path)
    assert str(problem) == f"x.toml:19:1: phase 'cycle' starts from {tmp_path}/w.safetensors, which is not a file"
    Path("w.safetensors").touch()
    assert _look(resolved, index, tmp_path) == []


def test_a_folder_that_is_not_there(good: str, read: Read, tmp_path: Path) -> None:
    resolved = read(good, roots={"clips": "nowhere"})
    indices, problems = read_indices(resolved, tmp_path)
    assert indices == {}
    assert _texts(problems) == [f"the root of data set 'clips' is not a folder: {tmp_path}/nowhere"]
