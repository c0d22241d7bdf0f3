"""The ledger against its definition, with and without labels, through a checkpoint, and bounded."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from cprspec.errors import CprspecError
from cprspec.mining.cmr import class_mining_recall
from cprspec.training import ledger as ledger_module
from cprspec.training.ledger import LABELS_NEEDED, Ledger, moved_left

CLASSES = ("zebra", "[b]", "ape")
LABEL = np.repeat([0, 1, 2], 6)
SOURCE = np.arange(18) // 2


def steps(seed=0, count=5, batch=4, picks=3):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        query = rng.integers(0, 18, batch)
        selected = rng.integers(-1, 18, (batch, picks))
        selected[SOURCE[selected] == SOURCE[query][:, None]] = -1
        yield query, selected, rng.integers(0, 9, (3, 3))


def make(**kwargs):
    return Ledger(LABEL, SOURCE, np.arange(18), CLASSES, phase="p", dataset="d", **kwargs)


def fill(ledger, **kwargs):
    for step in steps(**kwargs):
        ledger.add(*step)
    return ledger


def test_an_epoch_equals_the_definitions():
    table = fill(make()).finish(7)
    query = np.concatenate([s[0] for s in steps()])
    selected = np.concatenate([s[1] for s in steps()])
    picks = [(q, v) for q, row in zip(query, selected, strict=True) for v in row if v >= 0]
    right = sum(LABEL[q] == LABEL[v] and SOURCE[q] != SOURCE[v] for q, v in picks)
    assert (table.epoch, table.queries, table.picks, table.true_positives) == (7, 20, len(picks), right)
    assert table.precision == pytest.approx(right / len(picks))
    by_source = class_mining_recall(query, selected, LABEL, SOURCE)
    by_video = class_mining_recall(query, selected, LABEL, np.arange(18), source_V=SOURCE)
    assert table.cmr_source_median == by_source.median
    assert table.cmr_source.mean_random == pytest.approx(by_source.mean_random)
    assert table.cmr_video_median == by_video.median
    assert [row.name for row in table.classes] == sorted(CLASSES)
    zebra = next(row for row in table.classes if row.name == "zebra")
    assert (zebra.sources, zebra.videos) == (3, 6)
    assert zebra.cmr_source == by_source.recall_C[0]
    assert zebra.queries == int((LABEL[query] == 0).sum())
    assert sum(row.picks for row in table.classes) == len(picks)
    counts = sum(s[2] for s in steps())
    assert [[s.survivors, s.true_positives, s.in_bank] for s in table.funnel] == counts.tolist()


def test_tensors_are_as_good_as_arrays():
    ledger = make()
    for query, selected, counts in steps():
        ledger.add(torch.from_numpy(query), torch.from_numpy(selected), torch.from_numpy(counts))
    assert ledger.finish(0) == fill(make()).finish(0)


def test_finish_empties_the_ledger():
    ledger = fill(make())
    ledger.finish(0)
    empty = ledger.finish(1)
    assert (empty.queries, empty.picks, empty.precision, empty.funnel, empty.examples) == (0, 0, None, (), ())
    assert empty.cmr_source.median == 0.0
    assert empty.cmr_source_median is None


@pytest.mark.parametrize("cut", range(6))
def test_a_checkpoint_in_mid_epoch_changes_nothing(cut):
    whole = fill(make()).finish(0)
    first, second = make(), make()
    some = list(steps())
    for step in some[:cut]:
        first.add(*step)
    state = first.state()
    assert all(isinstance(v, np.ndarray) for v in state.values())
    second.restore(state)
    for step in some[cut:]:
        second.add(*step)
    assert second.finish(0) == whole


def test_restore_names_what_is_missing():
    with pytest.raises(CprspecError, match="selected_MP"):
        make().restore({"query_M": np.zeros(0), "counts": np.zeros((0, 3))})


def test_the_number_of_picks_may_change_and_missing_picks_do_not_count():
    ledger = make()
    ledger.add([0], [[2]])
    ledger.add([6, 12], [[8, -1, 0], [-1, -1, -1]])
    table = ledger.finish(0)
    assert (table.queries, table.picks, table.true_positives) == (3, 3, 2)
    assert table.funnel == ()


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="belong together"):
        make().add([0, 1], [[2]])


def test_without_labels_everything_but_the_counts_is_unknown_and_says_why():
    ledger = Ledger(np.full(18, -1), np.arange(18), np.arange(18))
    table = fill(ledger).finish(0)
    assert table.picks > 0
    assert (table.precision, table.cmr_source, table.cmr_video_median, table.funnel, table.classes) == (
        None,
        None,
        None,
        (),
        (),
    )
    assert table.note == LABELS_NEEDED
    assert table.examples
    assert all(mined.right is None for example in table.examples for mined in example.mined)


def test_picks_without_a_known_class_are_not_judged():
    label = LABEL.copy()
    label[2] = -1
    ledger = Ledger(label, np.arange(18), np.arange(18), CLASSES)
    ledger.add([0, 2], [[1, 2, 7], [0, 1, 3]])
    table = ledger.finish(0)
    assert (table.picks, table.true_positives, table.precision) == (6, 1, 0.5)


def test_a_class_outside_the_training_split_has_no_recall():
    ledger = Ledger(LABEL, SOURCE, np.arange(12), CLASSES)
    ledger.add([0], [[2]])
    table = ledger.finish(0)
    ape = next(row for row in table.classes if row.name == "ape")
    assert (ape.sources, ape.cmr_source, ape.random_video) == (0, None, None)
    assert table.cmr_source.undefined == 1


def test_examples_are_bounded_spread_and_the_same_each_time():
    ledger = make(examples=2, names=[f"v{i}.mp4" for i in range(18)])
    for _ in range(50):
        ledger.add(np.arange(18), np.repeat((np.arange(18)[:, None] + 2) % 18, 30, axis=1))
    table = ledger.finish(0)
    assert len(table.examples) == 6
    assert {example.label for example in table.examples} == set(CLASSES)
    first = table.examples[0]
    assert first.name == f"v{first.video}.mp4"
    assert [mined.rank for mined in first.mined] == list(range(10))
    assert first.mined[0].right == (LABEL[first.video] == LABEL[first.mined[0].video])


def test_json_is_strict_and_says_what_it_is():
    data = json.loads(json.dumps(fill(make()).finish(3).to_json(), allow_nan=False))
    assert (data["schema"], data["kind"], data["phase"], data["dataset"], data["epoch"]) == (1, "mining", "p", "d", 3)
    assert set(data["cmr"]) == {"source", "video"}
    assert set(data["funnel"][0]) >= {"precision", "recall"}
    assert "cmr_source" not in data


def test_a_source_of_its_own_is_never_right():
    ledger = make()
    ledger.add([0], [[1, 0]])
    table = ledger.finish(0)
    assert table.true_positives == 0
    assert table.cmr_source.median == 0.0


def fill_both(ledger, steps_a, steps_b):
    for (query, a, counts_a), (_, b, counts_b) in zip(steps_a, steps_b, strict=True):
        ledger.add(query, a, counts_a, direction="rgb")
        ledger.add(query, b, counts_b, direction="residual")


def directed(seed=0):
    """Steps of two directions: the same queries, other picks."""
    first = list(steps(seed))
    second = [
        (query, np.where(selected % 3 == 0, selected, (selected * 5) % 18), counts) for query, selected, counts in first
    ]
    return first, [(q, np.where(SOURCE[s] == SOURCE[q][:, None], -1, s), c) for q, s, c in second]


def test_directions_are_judged_alone_and_their_union_counts_a_video_once():
    directions = {"rgb": "residual", "residual": "rgb"}
    first, second = directed()
    ledger = make(directions=directions)
    fill_both(ledger, first, second)
    table = ledger.finish(7)
    picks = {
        (i, n, v)
        for some in (first, second)
        for i, (_, s, _) in enumerate(some)
        for n in range(4)
        for v in s[n]
        if v >= 0
    }
    query = {(i, n): first[i][0][n] for i in range(5) for n in range(4)}
    right = sum(LABEL[query[i, n]] == LABEL[v] and SOURCE[query[i, n]] != SOURCE[v] for i, n, v in picks)
    assert (table.queries, table.picks, table.true_positives) == (20, len(picks), right)
    assert [(d.view, d.mined_with) for d in table.directions] == list(directions.items())
    for found, some in zip(table.directions, (first, second), strict=True):
        alone = make()
        for step in some:
            alone.add(*step)
        assert found.table == alone.finish(7)
    assert [s.survivors for s in table.funnel] == [
        sum(d.table.funnel[stage].survivors for d in table.directions) for stage in range(3)
    ]
    data = json.loads(json.dumps(table.to_json()))
    assert [d["view"] for d in data["directions"]] == ["rgb", "residual"]
    assert data["directions"][0]["cmr"]["source"]["median"] == table.directions[0].table.cmr_source_median
    assert "directions" not in make().finish(0).to_json()


def test_directions_survive_a_checkpoint():
    first, second = directed()
    directions = {"rgb": "residual", "residual": "rgb"}
    whole, part, rest = (make(directions=directions) for _ in range(3))
    fill_both(whole, first, second)
    fill_both(part, first[:2], second[:2])
    rest.restore(part.state())
    fill_both(rest, first[2:], second[2:])
    assert rest.finish(1) == whole.finish(1)
    with pytest.raises(CprspecError, match=r"lacks residual\.counts"):
        make(directions=directions).restore(make().state())


def ranks_of(query, selected):
    """Ranks `[R,10,2]` that say which query and pick they belong to."""

    def ranks(rows):
        found = np.full((len(rows), 10, 2), -1)
        for i, row in enumerate(rows):
            for j, video in enumerate([v for v in selected[row] if v >= 0][:10]):
                found[i, j] = query[row], video
        return found

    return ranks


def test_examples_carry_the_ranks_of_their_own_picks_and_few_are_asked_for():
    asked = []
    ledger, rng = make(examples=2), np.random.default_rng(0)
    for _ in range(120):
        query, selected = rng.permutation(18)[:6], rng.integers(-1, 18, (6, 12))
        ranks = ranks_of(query, selected)
        ledger.add(query, selected, ranks=lambda rows, ranks=ranks: asked.append(len(rows)) or ranks(rows))
    table = ledger.finish(0)
    assert len(table.examples) == 6
    for example in table.examples:
        assert [m.stages for m in example.mined] == [(example.video, m.video) for m in example.mined]
    assert sum(asked) < 150 < sum(asked[:20]) + 150, "most at the beginning"


@pytest.mark.parametrize("cut", [0, 3, 40])
def test_ranks_survive_a_checkpoint_and_an_older_one_has_none(cut):
    def some(ledger, steps):
        for step in steps:
            query, selected, counts = step
            ledger.add(query, selected, counts, ranks=ranks_of(query, selected))
        return ledger

    every = list(steps(count=40))
    whole = some(make(examples=1), every).finish(0)
    state = some(make(examples=1), every[:cut]).state()
    assert len(state["example_E"]) <= 2 * 3
    resumed = make(examples=1)
    resumed.restore(state)
    assert some(resumed, every[cut:]).finish(0) == whole
    older = make(examples=1)
    older.restore({name: state[name] for name in ("query_M", "selected_MP", "counts")})
    table = some(older, every[cut:]).finish(0)
    assert [e.video for e in table.examples] == [e.video for e in whole.examples]
    assert cut < 40 or all(m.stages is None for e in table.examples for m in e.mined)


@pytest.mark.parametrize("width", [3, 12])
def test_the_union_has_the_ranks_of_the_direction_that_picked_first(width):
    ledger, rng = make(directions={"rgb": "residual", "residual": "rgb"}), np.random.default_rng(1)
    found = {}
    for _ in range(9):
        query = rng.permutation(18)[:4]
        for direction in ("rgb", "residual"):
            selected = rng.integers(-1, 18, (4, width))
            marked = ranks_of(np.full(4, 7 if direction == "rgb" else 8), selected)
            ledger.add(query, selected, direction=direction, ranks=marked)
            for q, row in zip(query.tolist(), selected, strict=True):
                found.setdefault((q, direction), []).append(set(row.tolist()))
    known = 0
    for example in ledger.finish(0).examples:
        for mined in example.mined:
            if mined.stages is not None:
                first = 7 if any(mined.video in row for row in found[example.video, "rgb"]) else 8
                assert mined.stages[1] == mined.video
                assert mined.stages[0] in {first, 8}
                known += 1
    assert known > 50


def wide_steps(seed=0, count=5, columns=300, share=0.03):
    """Steps of a miner with a column for each bank row, most of them empty; the fourth finds nothing at all."""
    rng = np.random.default_rng(seed)
    for step in range(count):
        query, selected = rng.permutation(18)[:6], rng.integers(0, 18, (6, columns))
        selected[rng.random(selected.shape) > (0 if step == 3 else share)] = -1
        yield query, selected, rng.integers(0, 9, (3, 3))


def add_wide(ledger, steps, direction=""):
    for query, selected, counts in steps:
        ledger.add(query, selected, counts, direction=direction, ranks=ranks_of(query, selected))
    return ledger


def unmoved(monkeypatch, work):
    """What `work` gives where picks stay in their columns, as in earlier versions."""
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "WORTH_MOVING", 10**6)
        return work()


def test_nearly_empty_picks_are_kept_without_what_is_empty(monkeypatch):
    ledger = add_wide(make(), wide_steps())
    most = max((selected >= 0).sum(1).max() for _, selected, _ in wide_steps())
    assert ledger.state()["selected_MP"].shape == (30, most)
    table = ledger.finish(2)
    assert table == unmoved(monkeypatch, lambda: add_wide(make(), wide_steps()).finish(2))
    for example in table.examples:
        columns = [
            np.flatnonzero(selected[row] >= 0)[:10].tolist()
            for query, selected, _ in wide_steps()
            for row in np.flatnonzero(query == example.video)
        ]
        assert [mined.rank for mined in example.mined] in columns, "its column is its rank"


@pytest.mark.parametrize("cut", range(6))
def test_moved_picks_survive_a_checkpoint_also_one_of_an_earlier_version(monkeypatch, cut):
    every = [*wide_steps(), *steps(1)]
    whole = add_wide(make(), every).finish(0)
    earlier = unmoved(monkeypatch, lambda: add_wide(make(), every[:cut]).state())
    earlier = {name: part for name, part in earlier.items() if name not in {"column_MP", "width"}}
    for state in (add_wide(make(), every[:cut]).state(), earlier):
        resumed = make()
        resumed.restore(state)
        assert add_wide(resumed, every[cut:]).finish(0) == whole


def test_the_union_of_moved_picks_ranks_them_as_before(monkeypatch):
    directions = {"rgb": "residual", "residual": "rgb"}
    first = [*wide_steps(share=0.01)]
    second = [
        (query, np.where(selected >= 0, (selected + 5) % 18, -1)[:, 50:250], counts)
        for query, selected, counts in first
    ]

    def resumed(parts):
        ledger = make(directions=directions)
        for some in parts:
            again = make(directions=directions)
            again.restore(ledger.state())
            ledger = again
            add_wide(ledger, first[some], "rgb")
            add_wide(ledger, second[some], "residual")
        return ledger.finish(1)

    whole = unmoved(monkeypatch, lambda: resumed([slice(0, 5)]))
    assert max(mined.rank for example in whole.examples for mined in example.mined) >= 300, "of the second direction"
    assert resumed([slice(0, 5)]) == resumed([slice(0, 2), slice(2, 5), slice(5, 5)]) == whole


def test_few_or_full_columns_stay_as_they_are():
    narrow, full = np.full((4, 8), -1), np.zeros((4, 100), np.int64)
    for selected in (narrow, full):
        picks, columns = moved_left(selected)
        assert picks is selected
        assert columns is None
    assert [part.shape for part in moved_left(np.full((4, 100), -1))] == [(4, 0), (4, 0)]
