"""Is what absent nodes should have remembered, whoever else never comes back?"""

from artifacts import Origin, manifest_of
from pytest import MonkeyPatch

from ringgossip.protocol.core import Remember
from ringgossip.protocol.errands import Errands


def test_a_node_that_never_comes_back_keeps_out_nothing_that_is_for_others(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr("ringgossip.protocol.errands._MOST", 2)
    errands = Errands()
    records = [Origin().record(manifest_of(1), name) for name in ("a", "b", "c")]
    for record in records[:2]:
        errands.keep(record, "gone", 2)
    out = errands.keep(records[2], "here", 2)
    assert errands.of("here") == [(records[2].key, 1, 2)]
    assert errands.of("gone") == [(records[1].key, 1, 2)]
    assert Remember(records[0].key, "for gone", 0) in out
    assert len(errands) == 2
    assert [
        effect.sequence for effect in errands.keep(records[2], "here", 4) if isinstance(effect, Remember)
    ] == [12]
