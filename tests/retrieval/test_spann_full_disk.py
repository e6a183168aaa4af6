"""A full disk while lists are split: an error, and the version before goes on answering."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from faults import FillingDisk
from spann_collections import BASE, BASE_ROWS, add, begun, recall

import cormorant as cm
from cormorant.errors import DiskFullError
from cormorant.indexers.spann import stages, tuning
from cormorant.retrieval.collection import Collection
from cormorant.retrieval.unfinished import UNFINISHED

EVERY = 6
"""Every so many-th call is enough here."""


@pytest.mark.parametrize("kept_rows", [stages.KEPT_ROWS, 1], ids=["small", "stages kept"])
def test_no_space_during_a_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_rows: int
) -> None:
    monkeypatch.setattr(tuning, "TARGETS", ())
    monkeypatch.setattr(stages, "KEPT_ROWS", kept_rows)
    base = tmp_path / "base.cm"
    begun(base)
    with cm.Collection.open(base) as collection:
        add(collection, range(BASE_ROWS, len(BASE)))
    live = np.ones(len(BASE), np.bool_)
    reached = 0
    for fail_at in range(1, 200, EVERY):
        path, disk = tmp_path / f"{fail_at}.cm", FillingDisk()
        shutil.copytree(base, path)
        collection = Collection._open(path, False, disk)
        collection._writer.stop_background()
        disk.calls, disk.fail_at = 0, fail_at
        try:
            collection.merge()
        except DiskFullError:
            assert disk.failed
            assert not (path / "segments" / "spann" / UNFINISHED).exists(), "it takes room"
        else:
            assert not disk.failed, "a full disk was passed over"
        if not disk.failed:
            (segment,) = collection._reader.snapshot().searchable["spann"].segments
            assert segment.summary["spann"]["splits"] > 0, "nothing was split"
            collection.close()
            break
        reached += 1
        assert recall(collection, live) >= 0.94
        disk.free()
        collection.merge()
        assert collection.check().problems == ()
        assert recall(collection, live) >= 0.94
        collection.close()
    assert reached >= 3
