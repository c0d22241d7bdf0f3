"""Files that nobody vouches for: recognised by content, read in a child, refused in one clean line."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as to_bytes

from cprspec.errors import CprspecError
from cprspec.weights import unpickle
from cprspec.weights.reading import open_weights, recognise

MiB = 1 << 20


class Bomb:
    """Unpickling it would touch a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def refusal(file: Path, **limits) -> str:
    with pytest.raises(CprspecError) as caught:
        open_weights(file, **limits)
    (problem,) = caught.value.problems
    assert problem.place is not None
    assert problem.place.file == str(file)
    assert "\n" not in str(problem)
    return str(problem)


def test_what_is_taken_of_a_checkpoint(tmp_path):
    file = tmp_path / "x.pth"
    shared = torch.arange(6.0)
    state = {"a": shared, "alias": shared, "part": shared[2:4], "n": torch.tensor(3), 5: 1, "text": "x"}
    torch.save({"epoch": 3, "opt": argparse.Namespace(lr=1), "model": state}, file)
    found, wrapper = unpickle.state_dict(unpickle.load(file, "zip"))
    tensors = unpickle.separate(found)
    assert wrapper == "model"
    assert {k: v.tolist() for k, v in tensors.items()} == {
        "a": [0, 1, 2, 3, 4, 5], "alias": [0, 1, 2, 3, 4, 5], "part": [2, 3], "n": 3,
    }  # fmt: skip
    assert to_bytes(tensors)  # refuses shared memory


def test_a_pickle_bomb_never_goes_off(tmp_path):
    marker, file = tmp_path / "marker", tmp_path / "bomb.pth"
    content = {"state_dict": {"a": torch.zeros(2)}, "x": Bomb(marker)}
    torch.save(content, file, _use_new_zipfile_serialization=False)
    with pytest.raises(pickle.UnpicklingError):
        unpickle.load(file, recognise(file, file.stat().st_size))
    torch.save(content, file)
    text = refusal(file)
    assert "system" in text
    assert "asks for Python code to be run" in text
    assert not marker.exists()
    torch.load(file, weights_only=False)  # the bomb is one: an unguarded reader sets it off
    assert marker.exists()


def test_memory_is_bounded(tmp_path):
    file = tmp_path / "large.pth"
    torch.save({"a": torch.zeros(1).expand(1 << 38)}, file)  # a terabyte in a few bytes
    assert file.stat().st_size < MiB
    assert "more memory than a file of its size may" in refusal(file, memory_bytes=256 * MiB)


def test_a_file_cut_short(tmp_path):
    file = tmp_path / "short.pth"
    torch.save({"a": torch.rand(1000)}, file)
    whole = file.read_bytes()
    for length in (5, 200, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises((RuntimeError, ValueError)):
            unpickle.load(file, "zip")


def test_a_bad_child_is_one_line(tmp_path, monkeypatch):
    file = tmp_path / "a.pth"
    torch.save({"a": torch.rand(10)}, file)
    child = tmp_path / "child.py"
    monkeypatch.setattr(unpickle, "__file__", str(child))
    child.write_text("raise SystemExit('one\\nRuntimeError: \\x1b[31mtwo')")
    assert "can be read: RuntimeError: \\x1b[31mtwo" in refusal(file)
    child.write_text("import os; os.kill(os.getpid(), 9)")
    assert "died of signal 9" in refusal(file)


def test_time_is_bounded(tmp_path):
    file = tmp_path / "a.pth"
    torch.save({"a": torch.rand(10)}, file)
    assert "longer than 0.01 s" in refusal(file, time_s=0.01)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "neither written by torch.save nor safetensors"),
        (b"GIF89a", "neither written by torch.save nor safetensors"),
        (pickle.dumps({"a": 1}, protocol=2), "a pickle that torch.save did not write"),
        (to_bytes({"a": torch.zeros(100)})[:60], "a safetensors file that is cut short"),
        ((1 << 60).to_bytes(8, "little") + b"{}", "neither written by torch.save nor safetensors"),
    ],
)
def test_refused_by_its_first_bytes(tmp_path, content, reason):
    file = tmp_path / "x.pth"
    file.write_bytes(content)
    assert reason in refusal(file)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    assert "not a regular file" in refusal(tmp_path / "fifo")  # and does not hang
    assert "not a regular file" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "missing")


def test_containers(tmp_path):
    file = tmp_path / "x"
    tensors = {"a": torch.rand(3)}
    for container, write in {
        "zip": lambda: torch.save(tensors, file),
        "legacy": lambda: torch.save(tensors, file, _use_new_zipfile_serialization=False),
        "safetensors": lambda: file.write_bytes(to_bytes(tensors)),
    }.items():
        write()
        assert recognise(file, file.stat().st_size) == container
        assert torch.equal(unpickle.load(file, container)["a"], tensors["a"])


def test_other_contents_are_refused(tmp_path):
    with pytest.raises(TypeError, match="holds a list and no state dict"):
        unpickle.state_dict([torch.zeros(1)])
    with pytest.raises(TypeError, match="'s' is not dense"):
        unpickle.separate({"s": torch.eye(3).to_sparse()})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/other.txt", "no weights")
    (tmp_path / "x").write_bytes(file.getvalue())
    with pytest.raises(RuntimeError):
        unpickle.load(tmp_path / "x", "zip")
