"""How does a user's own test see that a promise broke? A world that looks at all of them by itself.

What a step touched is checked by every world. Views, tables, rates and rules
want a look now and then; stories take it for themselves, this world whenever
time passes.
"""

from collections.abc import Sequence
from typing import Any

from ringgossip.simulation import world
from ringgossip.simulation.checks_bounds import BoundChecks
from ringgossip.simulation.checks_members import MemberChecks
from ringgossip.simulation.checks_rules import RuleChecks
from ringgossip.simulation.world import PeerSpec

_LOOK_EVERY = 0.5  # virtual seconds; a look at many takes longer, so that it is rarer


class World(world.World):
    """Many nodes and everything between them; raises `PromiseBroken` as soon as a promise breaks."""

    def __init__(
        self,
        peers: int | Sequence[PeerSpec] = 5,
        *,
        check: bool = True,
        no_false_death: bool = False,
        **more: Any,
    ) -> None:
        """As `world.World`; with `no_false_death` nobody who runs and can be reached may be declared dead."""
        super().__init__(peers, check=check, **more)
        self._looks: list[MemberChecks | BoundChecks | RuleChecks] = []
        if check:
            members = MemberChecks(self, self.checks, no_false_death=no_false_death)
            self._looks = [members, BoundChecks(self, self.checks), RuleChecks(self, self.checks)]
        self._look_every = max(_LOOK_EVERY, len(self.nodes) / 128)
        self._look_at = self._look_every

    def run(self, seconds: float) -> None:
        """Let time pass, and look at everything now and then."""
        until = self.now + seconds
        while self.now < until:
            super().run(min(until, self._look_at) - self.now)
            if self.now >= self._look_at:
                for checks in self._looks:
                    checks.look()
                self._look_at = self.now + self._look_every
        if not seconds:
            super().run(0.0)
