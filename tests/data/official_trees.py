"""Small trees with the layout of the official data sets and their irregularities. Videos are a byte each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

UCF_CLASSES = ("ApplyEyeMakeup", "Hammering", "HammerThrow", "HandstandPushups")
"""In the official order, which is not alphabetical for the two in the middle."""

HMDB_VIDEOS = {
    "brush_hair": ("April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "April_09_brush_hair_u_nm_np1_ba_goo_1.avi"),
    "clap": ("#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi", "Fans_[HQ]_(live);_&_more!_clap_u_cm_np2_le_bad_11.avi"),
    "hug": ("odd name with spaces.avi", "A_hug_f_cm_np2_ri_med_3.avi", "A_hug_h_nm_np2_fr_bad_4.avi"),
}


def write(root: Path, files: Mapping[str, str] | Iterable[str]) -> Path:
    """Make `files` (text by path, or videos of a byte) below `root`."""
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = files[name] if isinstance(files, Mapping) else "x"
        path.write_bytes(text.encode())
    return root


def ucf_videos(groups: Iterable[int], clips: int = 2) -> list[str]:
    """Videos by class folder and official name; those of HandstandPushups are spelled otherwise than their folder."""
    return [
        f"{label}/v_{'HandStandPushups' if label == 'HandstandPushups' else label}_g{group:02d}_c{clip:02d}.avi"
        for label in UCF_CLASSES
        for group in groups
        for clip in range(1, clips + 1)
    ]


def ucf_lists(train: Iterable[str], test: Iterable[str], split: int = 1) -> dict[str, str]:
    """The lists of one split, with the line ends of the official archive."""
    number = {label: i for i, label in enumerate(UCF_CLASSES, start=1)}
    return {
        "ucfTrainTestlist/classInd.txt": "".join(f"{i} {label}\r\n" for label, i in number.items()),
        f"ucfTrainTestlist/trainlist{split:02d}.txt": "".join(f"{v} {number[v.split('/')[0]]}\r\n" for v in train),
        f"ucfTrainTestlist/testlist{split:02d}.txt": "".join(f"{v}\r\n" for v in test),
    }


def ucf101(root: Path) -> Path:
    """Four classes, groups 8 and 9 to train on and 1 to test on in split 1, moved on by one in splits 2 and 3."""
    every = {group: ucf_videos([group]) for group in (1, 8, 9)}
    write(root / "UCF-101", [v for videos in every.values() for v in videos])
    for split, held in ((1, 1), (2, 8), (3, 9)):
        write(root, ucf_lists([v for g in every if g != held for v in every[g]], every[held], split))
    return root


def hmdb51(root: Path) -> Path:
    """Three classes; in split 1 the first video of each trains, the second tests, a third is not used."""
    for label, videos in HMDB_VIDEOS.items():
        write(root / "hmdb51_org" / label, videos)
        for split in (1, 2, 3):
            marks = ("1", "2", "0") if split == 1 else ("2", "1", "1")
            text = "".join(f"{name} {mark} \n" for name, mark in zip(videos, marks, strict=False))
            write(root / "testTrainMulti_7030_splits", {f"{label}_test_split{split}.txt": text})
    return root
