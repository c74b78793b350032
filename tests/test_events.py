"""Are events plain data, and does every name of the reference have its record?"""

import copy
import dataclasses
import json
import pickle

import pytest

from ringgossip import events
from ringgossip.cli.speech import sentence
from ringgossip.config.signals import signal

ALL = [each for each in vars(events).values() if isinstance(each, type) and issubclass(each, events.Event)]

UNION = {
    *("sync_type", "targets", "data_type"),
    *("duration", "file_count"),
    *("error", "target_node"),
    *("host", "node_id", "bytes_transferred", "config_key"),
}


@pytest.mark.parametrize("kind", [events.DataSyncStarted, events.DataSyncCompleted, events.DataSyncFailed])
def test_a_sync_event_has_every_field_that_programs_of_the_reference_read(
    kind: type[events.DataSync],
) -> None:
    told = kind().as_dict()
    assert told.pop("event") == kind.__name__
    assert set(told) >= UNION


def filled(kind: type[events.Event]) -> events.Event:
    values = {"str": "x", "int": 3, "float": 1.5, "tuple[str, ...]": ("a", "b")}
    fields = {}
    for each in dataclasses.fields(kind):
        name = each.type if isinstance(each.type, str) else getattr(each.type, "__name__", str(each.type))
        fields[each.name] = values.get("tuple[str, ...]" if "tuple" in str(each.type) else name, "x")
    return kind(**fields)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_event_is_plain_data_and_one_line(kind: type[events.Event]) -> None:
    event = filled(kind)
    assert json.loads(json.dumps(event.as_dict()))["event"] == kind.__name__
    assert "\n" not in sentence(event)


@pytest.mark.parametrize("word", ["node_id", "host", "source_node"])
def test_a_signal_is_about_a_node_whatever_the_field_is_called(word: str) -> None:
    told = signal("TRAINING_STARTED", {word: "gpu-3", "config_key": "hex8_2p", "epoch": 7})
    assert told == events.TrainingStarted("gpu-3", "hex8_2p")


@pytest.mark.parametrize(
    ("name", "fields", "complaint"),
    [
        ("TRAINING", {"node_id": "a"}, "'TRAINING' is no signal: use one of TRAINING_STARTED"),
        ("NODE_RECOVERED", {}, "NODE_RECOVERED is about a node: say node_id"),
        ("NODE_RECOVERED", {"node_id": 7}, "NODE_RECOVERED is about a node: say node_id"),
    ],
)
def test_a_signal_that_says_nothing_is_refused(name: str, fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        signal(name, fields)


def test_an_event_stays_as_it_was_told() -> None:
    event = events.PeerJoined("gpu-3", "10.0.0.3:7000")
    with pytest.raises(dataclasses.FrozenInstanceError, match="name"):
        event.name = "another"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="name"):
        del event.name
    assert pickle.loads(pickle.dumps(event)) == event == copy.deepcopy(event)
    assert {event: 1}[dataclasses.replace(event)] == 1
    assert event != dataclasses.replace(event, name="another")
    assert repr(event) == "PeerJoined(name='gpu-3', address='10.0.0.3:7000')"
