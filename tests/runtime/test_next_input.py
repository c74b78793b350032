"""Is what follows from an effect the next input, after all effects of the present one?"""

from collections import deque
from typing import Any

from ringgossip.runtime.engine import Engine


def test_an_input_that_an_effect_asks_for_comes_after_the_effects_beside_it() -> None:
    engine: Any = object.__new__(Engine)
    engine._next, engine._nexting, engine._batching = deque(), False, True
    done: list[str] = []

    def perform(effect: str) -> None:
        done.append(effect)
        if effect == "check":
            engine.next(lambda: engine.perform(["admitted", "check again"]))
        if effect == "check again":
            engine.next(lambda: engine.perform(["last"]))

    engine._perform = {str: perform}
    engine.perform(["check", "beside it"])
    assert done == ["check", "beside it", "admitted", "check again", "last"]
