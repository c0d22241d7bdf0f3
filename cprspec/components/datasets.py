"""Data sets: which videos exist, what they show, and what they were cut from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from cprspec.spec.kinds import Dataset, option

if TYPE_CHECKING:
    from cprspec.data.index import Index

_ROOT = "folder of the videos; `--root NAME=DIR` on the command line comes first"
_SOURCE = "regular expression with one group that reads a video's source from its path; none: each video is its own"


@frozen(kw_only=True)
class Folder(Dataset):
    """Videos in one folder per class, or all in one flat folder without labels."""

    name: ClassVar[str] = "folder"
    root: str | None = option(None, help=_ROOT, in_fingerprint=False)
    source_pattern: str | None = option(None, help=_SOURCE)
    test_pattern: str | None = option(None, help="regular expression; videos whose path matches are the test split")
    holdout: float = option(0.0, help="share of the sources kept as test split, chosen by their names", ge=0, lt=1)

    def build(self, root: Path) -> Index:
        """The index of every video file below `root`."""
        from cprspec.data.folder import read_folder

        return read_folder(root, self.source_pattern, self.test_pattern, self.holdout)


@frozen(kw_only=True)
class Manifest(Dataset):
    """Videos named in a CSV file with a header: path, and if present label, source, split."""

    name: ClassVar[str] = "manifest"
    root: str | None = option(None, help=_ROOT, in_fingerprint=False)
    file: str = option("manifest.csv", help="the CSV file, relative to the root")
    source_pattern: str | None = option(None, help=_SOURCE)

    def build(self, root: Path) -> Index:
        """The index of the videos that the manifest under `root` names."""
        from cprspec.data.manifest import read_manifest

        return read_manifest(root, self.file, self.source_pattern)


@frozen(kw_only=True)
class Motion(Dataset):
    """Procedural clips made on first use: a class is an appearance family and a motion programme together.

    RGB alone sees the family and not the motion, flow the motion and not the family: a small model of the paper's
    argument, by construction, and no evidence about real video.
    """

    name: ClassVar[str] = "motion"
    embedded: ClassVar[bool] = True
    root: str | None = option(
        None, help="folder for the videos (default: the user's cache folder)", in_fingerprint=False
    )
    seed: int = option(0, help="of the generator", ge=0)
    train_sources: int = option(12, help="sources per class to train on", ge=1)
    test_sources: int = option(4, help="sources per class to test on", ge=1)
    clips: int = option(2, help="videos cut from each source", ge=1)
    frames: int = option(24, help="frames of a video", ge=8)
    size: int = option(48, help="height and width of a video, pixels", ge=32)

    def build(self, root: Path) -> Index:
        """The index of the generated videos under `root`; makes those that are missing."""
        from cprspec.video.motion import make_motion

        return make_motion(self, root)


COMPONENTS = (Folder, Manifest, Motion)
