"""What tests of the store share."""

from collections.abc import Iterator

import pytest

from ringgossip.runtime.storage.snapshots import SnapshotHelper


@pytest.fixture(scope="module")
def helper() -> Iterator[SnapshotHelper]:
    with SnapshotHelper() as one:
        yield one
