"""Random damage never crashes, hangs or surprises a look at a file, and a check finds it."""

import os
import shutil

import pytest
from mutations import SEEDS, make_seeds, survey

from cprspec.components.datasets import Folder
from cprspec.data.collections import Collection
from cprspec.data.index_file import IndexFile
from cprspec.video.checking import check_collection
from cprspec.video.indexing import make_index_file


@pytest.mark.parametrize("mutations", [40, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_no_mutation_kills_hangs_or_escapes(tmp_path, mutations):
    counts = survey(tmp_path, mutations, seed=1)
    assert counts.died == []
    assert counts.outcomes.total() >= 0.95 * mutations
    assert counts.changed > mutations // 4
    assert counts.found_by_digest == counts.changed
    assert counts.found_without >= 0.6 * counts.changed


@pytest.mark.slow
@pytest.mark.parametrize("digest", [True, False])
def test_sound_files_raise_no_alarm(tmp_path, digest):
    """A thousand copies, checked against their index."""
    root = tmp_path / "root"
    (root / "0").mkdir(parents=True)
    make_seeds(root / "0")
    for i in range(1, 1000 // len(SEEDS) + 1):
        shutil.copytree(root / "0", root / str(i), copy_function=os.link)
    entries = Collection("clips", (Folder(),), root).listed()
    make_index_file(entries, root, tmp_path / "i", "clips", digest=digest, processes=1)
    with IndexFile.open(tmp_path / "i") as index:
        checked = check_collection(entries, root, index, processes=1)
    assert checked.files >= 1000 and checked.findings == () and checked.sound == checked.files
