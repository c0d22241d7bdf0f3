"""The supply: order, memory that is lent, what workers cost; and what is said of one that dies, hangs or runs out of memory."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from made_clips import MadeClips

from cprspec.errors import CprspecError
from cprspec.spec.schema import Launch
from cprspec.video import shared, supply
from cprspec.video.shared import Board, SharedBytes
from cprspec.video.supply import Supply, slots_of
from cprspec.video.tray import Unread

HERE = Path(__file__).parent


def batches(n, size):
    return [list(range(start, start + size)) for start in range(0, n, size)]


def taken(made):
    return {name: tensor.clone() for name, tensor in made.items()}


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order_and_whole(workers):
    with Supply(MadeClips(), batches(24, 4), Launch(workers=workers)) as clips:
        found = [taken(batch) for batch in clips]
        spent = clips.take_spent()
    assert [b["video"].tolist() for b in found] == [[10 * k for k in keys] for keys in batches(24, 4)]
    for batch, keys in zip(found, batches(24, 4), strict=True):
        assert torch.equal(batch["a"], torch.tensor(keys, dtype=torch.uint8)[:, None].expand(4, 5))
        assert batch["b"].shape == (4, 3, 1) and batch["b"][:, 0, 0].tolist() == [2 * k for k in keys]
    assert 0.024 <= spent.decode_s < 5 and spent.augment_s == 0
    assert (spent.replaced, spent.unread) == (1, [Unread(7, "torn")])


@pytest.mark.parametrize("workers", [0, 2])
def test_what_items_cost_comes_with_their_batch(workers):
    with Supply(MadeClips(), batches(12, 4), Launch(workers=workers)) as clips:
        replaced = []
        for _ in clips:
            time.sleep(0.02)  # workers are ahead, and what they do then counts later
            replaced.append(clips.take_spent().replaced)
    assert replaced == [0, 1, 0]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_may_be_larger_than_its_place(workers):
    clips = MadeClips(size=1000, varied=True)
    with Supply(clips, [[k] for k in range(1, 12)], Launch(workers=workers)) as made:
        for key, batch in enumerate(made, start=1):
            assert batch["a"].shape == (1, 1000 * key) and (batch["a"] == key).all()
            assert (batch["b"] == 2 * key).all()


def test_no_batches_need_no_workers():
    with Supply(MadeClips(), [], Launch(workers=2)) as clips:
        assert list(clips) == []


FAULTS = {
    "SIGKILL": (r"data worker \d \(pid \d+\) was killed by SIGKILL while it read /videos/13.mp4; out of memory\?", 1),
    "SIGSEGV": (r"was killed by SIGSEGV while it read /videos/13.mp4; the file may be damaged", 1),
    "leave": (r"ended with exit code 3 while it read /videos/13.mp4", 1),
    "memory": (r"/videos/13.mp4: data worker \d is out of memory; lower launch.workers or launch.prefetch_gib", 1),
    "mistake": (r"/videos/13.mp4: data worker \d failed: TypeError: no such thing", 1),
    "bad": (r"/videos/13.mp4: not a readable video: torn", 1),
    "hang": (r"has not finished an item for 4 s; it reads /videos/13.mp4; .*launch.data_timeout_s", 1),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_worker_that_fails_is_named_with_its_file(what):
    text, code = FAULTS[what]
    began = time.monotonic()
    with Supply(MadeClips(what), batches(24, 4), Launch(workers=2, data_timeout_s=4.0)) as clips:
        with pytest.raises(CprspecError, match=text) as error:
            for number, _ in enumerate(clips):
                assert number < 3, "key 13 is in batch 3"
        processes = [worker.process for worker in clips._workers]
    assert error.value.exit_code == code and len(str(error.value).splitlines()) == 1
    assert time.monotonic() - began < 120
    assert not any(process.is_alive() for process in processes)
    if what == "mistake":
        assert "in suffer" in error.value.__notes__[0]


def test_a_worker_that_is_killed_while_it_rests_is_noticed():
    with Supply(MadeClips(), batches(80, 4), Launch(workers=2)) as clips:
        next(clips)
        time.sleep(0.3)
        os.kill(clips._workers[1].process.pid, signal.SIGKILL)
        with pytest.raises(CprspecError, match=r"data worker 1 .* was killed by SIGKILL while it read /videos/"):
            list(clips)


def test_a_supply_that_is_dropped_ends_its_workers():
    clips = Supply(MadeClips(), batches(80, 4), Launch(workers=2))
    next(clips)
    processes = [worker.process for worker in clips._workers]
    del clips
    assert not any(process.is_alive() for process in processes)


@pytest.mark.slow
def test_workers_do_not_outlive_their_rank_or_keep_it(tmp_path):
    script = tmp_path / "rank.py"
    script.write_text(
        f"import sys; sys.path[:0] = [{str(HERE)!r}]\n"
        "import os, signal; from cprspec.spec.schema import Launch; from cprspec.video.supply import Supply\n"
        "from made_clips import MadeClips\n"
        "if __name__ == '__main__':\n"
        "    made = MadeClips('hang' if sys.argv[1] == 'raise' else '')\n"
        "    clips = Supply(made, [[k] for k in range(999)], Launch(workers=2))\n"
        "    [next(clips) for _ in range(9)]\n"
        "    print(*[w.process.pid for w in clips._workers], flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if sys.argv[1] == 'kill' else sys.exit(1 / 0)\n"
    )
    for how in ("kill", "raise"):
        began = time.monotonic()
        done = subprocess.run([sys.executable, script, how], capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == (-signal.SIGKILL if how == "kill" else 1), done.stderr
        while any(Path(f"/proc/{pid}").exists() for pid in done.stdout.split()):
            assert time.monotonic() - began < 120
            time.sleep(0.05)


def test_memory_is_bounded_by_bytes_and_by_what_there_is(monkeypatch):
    monkeypatch.setattr(supply, "free_bytes", lambda: 10 * 2**30)
    mib = 2**20
    assert slots_of(1 * mib, 16, Launch(workers=2)) == 5
    assert slots_of(1 * mib, 1, Launch(workers=4)) == 17
    assert slots_of(300 * mib, 16, Launch(workers=2)) == 3
    assert slots_of(300 * mib, 16, Launch(workers=2, prefetch_gib=0.1)) == 2
    monkeypatch.setattr(supply, "free_bytes", lambda: 4 * mib)
    assert slots_of(1 * mib, 16, Launch(workers=2)) == 3


def test_full_shared_memory_says_how_large_it_is_and_what_to_change(monkeypatch):
    def refuse(_descriptor, _start, _size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared.os, "posix_fallocate", refuse)
    with pytest.raises(CprspecError, match=r"is full: 30 MiB .* are free .*batch_size.*launch.workers=0"):
        SharedBytes(30 * 2**20)


def test_the_board_keeps_the_end_of_a_long_path():
    board = Board(2)
    board.reads(1, Path("/" + "x" * 3000 + "/y\udcff.mp4"))
    assert str(board.file(1)).endswith("/y\udcff.mp4") and board.file(0) is None
    board.begin(1)
    assert 0 < time.monotonic() - board.since(1) < 5 and board.since(0) == 0
    board.rest(1)
    assert board.since(1) == 0


def test_no_random_state_is_touched():
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    with Supply(MadeClips(), batches(12, 4), Launch(workers=1)) as clips:
        list(clips)
    assert torch.equal(torch.get_rng_state(), states[0]) and (np.random.get_state()[1] == states[1]).all()
