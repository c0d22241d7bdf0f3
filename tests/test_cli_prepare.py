"""`data prepare` as it is typed: what it prints, and what it says of wrong input. How stores are made: tests/video."""

import json

import pytest
from typer.testing import CliRunner

from cprspec.cli import app
from cprspec.cli_prepare import read_shard
from cprspec.errors import CprspecError


def invoke(*arguments):
    return CliRunner().invoke(app, ["data", "prepare", *map(str, arguments)])


@pytest.mark.parametrize(("text", "part"), [("1/1", (1, 1)), ("3/8", (3, 8))])
def test_a_shard_is_read(text, part):
    shard = read_shard(text)
    assert (shard.number, shard.count) == part


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "a/b", "-1/4", "1/0", "", "1/4/2"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(CprspecError, match="is not a part I of N; for example 1/4"):
        read_shard(text)


def test_torchrun_says_the_shard_and_the_command_line_comes_first(monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert str(read_shard(None)) == "3-of-4"
    assert str(read_shard("1/2")) == "1-of-2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flow", "tvl"], "no flow method is called 'tvl'; did you mean 'tvl1'"),
        (["--bound", "-1"], "-1.0 is no motion"),
        (["--short-side", "45"], "a short side of 45 pixels is odd"),
        (["--dataset", "other"], "no data set is called 'other'"),
        (["--shard", "2/1"], "is not a part I of N"),
    ],
)
def test_wrong_options_are_one_error(tmp_path, arguments, message):
    result = invoke("folder", "--root", tmp_path, "--out", tmp_path / "store", *arguments)
    assert isinstance(result.exception, CprspecError) and message in str(result.exception)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("out", ["videos", "videos/store", "link/store"])
def test_a_store_among_its_videos_is_refused(tmp_path, small_video, out):
    (tmp_path / "link").symlink_to("videos")
    result = invoke("folder", "--root", tmp_path / "videos", "--out", tmp_path / out)
    assert isinstance(result.exception, CprspecError) and "would lie among the videos" in str(result.exception)
    assert [path.name for path in (tmp_path / "videos").iterdir()] == [small_video.name]


def test_ctrl_c_says_how_to_go_on(tmp_path, small_video, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cprspec.video.storing.make_store", interrupted)
    result = invoke("folder", "--root", small_video.parent, "--out", tmp_path / "store")
    assert result.exit_code == 130 and "stopped; the same command goes on where it was" in result.stderr


def test_what_was_made_is_told(tmp_path, small_video):
    result = invoke("folder", "--root", small_video.parent, "--out", tmp_path / "store", "--short-side", 48, "--json")
    assert result.exit_code == 0, result.exception
    record = json.loads(result.stdout)
    assert record["finished"] and record["videos"] == 1 and record["frames"] == 12 and record["excluded"] == []
    assert record["options"]["flow"] == "dis" and record["bytes"]["rgb"] > 0
    again = invoke("folder", "--root", small_video.parent, "--out", tmp_path / "store", "--short-side", 48)
    assert "1 videos, 12 frames, made 0 now" in again.stdout and "bound 4" in again.stdout


@pytest.fixture
def small_video(tmp_path):
    import av
    import numpy as np

    path = tmp_path / "videos" / "x.mp4"
    path.parent.mkdir()
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (64, 96, 3)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path
