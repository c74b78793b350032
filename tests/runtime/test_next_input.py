"""Is what follows from an effect the next input, after all effects of the present one?"""

from collections import deque
from typing import Any

from ringgossip.runtime.engine import Engine


def test_an_input_that_an_effect_asks_for_comes_after_the_effects_beside_it() -> None:
    engine: Any = object.__new__(Engine)
    engine._next, engine._performing, engine._batching = deque(), False, True
    done: list[str] = []

    def perform(effect: str) -> None:
        done.append(effect)
        if effect == "check":
            engine.next(lambda: engine.perform(["admitted", "check again"]))
        if effect == "answer":
            engine.perform(["busy"])  # an effect may have effects of its own
        if effect == "check again":
            engine.next(lambda: engine.perform(["last"]))

    engine._perform = {str: perform}
    engine.perform(["check", "answer", "beside it"])
    assert done == ["check", "answer", "busy", "beside it", "admitted", "check again", "last"]
