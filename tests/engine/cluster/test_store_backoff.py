"""The pause while a store does not answer."""

import pytest

from engine.cluster.stopping import StoreBackoff
from engine.errors import OutputError
from shards.storage.retries import StoreUnreachable


def test_the_pause_doubles_and_at_last_the_run_ends() -> None:
    now, waits = [0.0], []
    backoff = StoreBackoff(lambda: now[0])
    error = StoreUnreachable("s3://bucket/run: cannot be written (TimeoutError)")
    assert not backoff.is_active
    for _ in range(6):
        waits.append(backoff.record_failure(error))
        assert backoff.record_failure(error) == waits[-1], "units in flight fail together and count once"
        assert backoff.is_active
        now[0] += waits[-1]
        assert not backoff.is_active
    assert waits == [5, 10, 20, 40, 60, 60]
    backoff.reset()
    assert backoff.record_failure(error) == 5
    now[0] += 15 * 60
    with pytest.raises(OutputError, match=r"TimeoutError\), for 15 minutes\. Finished shards are kept"):
        backoff.record_failure(error)
