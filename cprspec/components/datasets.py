"""Data sets: which videos exist, what they show, and what they were cut from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from cprspec.spec.kinds import Dataset, option

if TYPE_CHECKING:
    from cprspec.data.index import Entry, Index
    from cprspec.data.survey import About, Survey

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

    def about(self) -> About:
        """Its layout."""
        from cprspec.data.folder import ABOUT

        return ABOUT

    def build(self, root: Path) -> Index:
        """The index of every video file below `root`."""
        from cprspec.data.folder import read_folder

        return read_folder(root, self.source_pattern, self.test_pattern, self.holdout)

    def listed(self, root: Path) -> list[Entry]:
        """Everything below `root` that is called like a video, files or not."""
        from cprspec.data.folder import list_folder

        return list_folder(root, self.source_pattern, self.test_pattern, self.holdout, files_only=False)


@frozen(kw_only=True)
class Manifest(Dataset):
    """Videos named in a CSV file with a header: path, and if present label, source, split."""

    name: ClassVar[str] = "manifest"
    root: str | None = option(None, help=_ROOT, in_fingerprint=False)
    file: str = option("manifest.csv", help="the CSV file, relative to the root")
    source_pattern: str | None = option(None, help=_SOURCE)

    def about(self) -> About:
        """Its layout."""
        from cprspec.data.manifest import ABOUT

        return ABOUT

    def build(self, root: Path) -> Index:
        """The index of the videos that the manifest under `root` names."""
        from cprspec.data.manifest import read_manifest

        return read_manifest(root, self.file, self.source_pattern)

    def listed(self, root: Path) -> list[Entry]:
        """What the manifest names, there or not."""
        from cprspec.data.manifest import list_manifest

        return list_manifest(root, self.file, self.source_pattern, files_only=False)


@frozen(kw_only=True)
class UCF101(Dataset):
    """UCF101 in its official form: folders of avi and the split lists; class and group make the source."""

    name: ClassVar[str] = "ucf101"
    root: str | None = option(None, help=_ROOT, in_fingerprint=False)
    split: int = option(1, help="official split", ge=1, le=3)

    def build(self, root: Path) -> Index:
        """The index of this split; every listed video must be there."""
        from cprspec.data.ucf101 import read_ucf101

        return read_ucf101(root, self.split)

    def about(self) -> About:
        """What it expects, where people get it, its licence."""
        from cprspec.data.ucf101 import ABOUT

        return ABOUT

    def survey(self, root: Path) -> Survey:
        """What is there of all three splits."""
        from cprspec.data.ucf101 import survey_ucf101

        return survey_ucf101(root)


@frozen(kw_only=True)
class HMDB51(Dataset):
    """HMDB51 in its official form: folders of avi and lists that mark videos; class and title make the source."""

    name: ClassVar[str] = "hmdb51"
    root: str | None = option(None, help=_ROOT, in_fingerprint=False)
    split: int = option(1, help="official split", ge=1, le=3)

    def build(self, root: Path) -> Index:
        """The index of this split; every video it uses must be there."""
        from cprspec.data.hmdb51 import read_hmdb51

        return read_hmdb51(root, self.split)

    def about(self) -> About:
        """What it expects, where people get it, its licence."""
        from cprspec.data.hmdb51 import ABOUT

        return ABOUT

    def survey(self, root: Path) -> Survey:
        """What is there of all three splits."""
        from cprspec.data.hmdb51 import survey_hmdb51

        return survey_hmdb51(root)


@frozen(kw_only=True)
class Kinetics(Dataset):
    """Kinetics-style CSV lists of YouTube clips; the clips lie anywhere below the root, and some may be missing."""

    name: ClassVar[str] = "kinetics"
    root: str | None = option(None, help=_ROOT, in_fingerprint=False)
    train: str = option("annotations/train.csv", help="the list of the training split, relative to the root")
    test: str = option(
        "annotations/val.csv", help="the list of the test split, relative to the root; empty: there is none"
    )
    max_missing: float = option(
        0.1, help="largest share of a list's clips that may not be there", ge=0, le=1, in_fingerprint=False
    )

    def build(self, root: Path) -> Index:
        """The index of the listed clips that are there."""
        from cprspec.data.kinetics import read_kinetics

        return read_kinetics(root, self.train, self.test, self.max_missing)

    def about(self) -> About:
        """What it expects, where people get it, its licence."""
        from cprspec.data.kinetics import ABOUT

        return ABOUT

    def survey(self, root: Path) -> Survey:
        """What is there of both lists."""
        from cprspec.data.kinetics import survey_kinetics

        return survey_kinetics(root, self.train, self.test)


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


@frozen(kw_only=True)
class Store(Dataset):
    """What `cprspec data prepare` made, as it is: videos, labels, sources and splits stand in the store itself."""

    name: ClassVar[str] = "store"
    root: str | None = option(None, help="folder of the store; `--root NAME=DIR` comes first", in_fingerprint=False)
    split: int = option(1, help="official split, of a data set that has several", ge=1)

    def build(self, root: Path) -> Index:
        """The index of the videos in the store."""
        from cprspec.data.stores import open_store

        return open_store(root).index_of_split(self.split)


COMPONENTS = (Folder, Manifest, UCF101, HMDB51, Kinetics, Motion, Store)
