"""Why does a node have, lack or will get an artifact? Which rule, which weight, which holder, which limit.

Any peer can answer for any other: who wants what follows from cards, which all
have. Of others we do not know what they were asked for, nor what their `keep:` let go.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ringgossip.content.record import Record
from ringgossip.errors import OperationFailed
from ringgossip.identity import PeerId
from ringgossip.protocol.rules import Rules
from ringgossip.strategy.candidates import Candidate
from ringgossip.strategy.eligibility import No, may_receive
from ringgossip.strategy.wanting import Wanted
from ringgossip.strategy.weights import Weight, push_weight


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer for one artifact and one node. `code` is a word for scripts, `sentence` a paragraph.

    Codes: why it is wanted (`role holder asked origin`), or why it is not (`coordinator
    excluded status kind disk storage_group not_wanted withdrawn retired`, and `evicted`,
    which only the node itself knows).
    """

    artifact: str
    node: str
    code: str
    wanted: bool
    held: bool
    holders: tuple[str, ...]
    copies_wanted: int
    plan: str  # how its origin spreads it, if that is us
    weight: float  # of the node as a partner, and as one who asks
    urgency: float | None  # its weight among what waits to be pulled; None: that node has it, or need not
    limit: float | None  # of our exchange with that node, bytes a second
    # `breaker`: nobody who has it may be asked now; `absent`: all who have it are gone;
    # `budget`: we give none now; else empty.
    hindrance: str
    sentence: str


def explain(
    rules: Rules,
    record: Record,
    peer: PeerId,
    holders: Iterable[PeerId],
    confirmed: int,
    progress: str,
    held_back: str,
    all_gone: str,
    spent: str,
    urgency: tuple[Candidate, Weight] | None,
    name_of: Callable[[PeerId], str],
    gone: Callable[[PeerId], str],
) -> Explanation:
    """Answer for one version and one node; if that is us, with what we know of its pull.

    `confirmed` is the number of places beside its origin's where copies lie,
    `progress` says how far it is, `held_back` which open breakers keep us
    from all holders, `all_gone` that no holder is here, `spent` until when our own
    byte budget lets nothing leave, `urgency` which holder's drain urgency counts
    when it is pulled, `gone` how a peer went, if it did.

    Raises `OperationFailed` for a peer that is no member.
    """
    candidate = rules.candidate(peer)
    if candidate is None:
        raise OperationFailed(f"there is no member {name_of(peer)} here: see `ringgossip members`")
    own = peer == rules.me
    name, kind = candidate.name, record.kind
    holding = list(holders)
    names = sorted({name_of(holder) for holder in holding})
    held = name in names
    verdict = rules.wanting(record) if own else rules.wanting_of(peer, record)
    if own and verdict and rules.is_asked(record):
        # A rule that names us stays when what was asked for has come.
        verdict = rules.wanting_of(peer, record) or verdict
    if own and isinstance(verdict, No):
        # Our card tells only the code; our settings and disk know the numbers.
        precise = may_receive(rules.myself(), kind, rules.settings.disk)
        if isinstance(precise, No) and precise.code == verdict.code:
            verdict = precise
    code = verdict.why if isinstance(verdict, Wanted) else verdict.code if isinstance(verdict, No) else ""
    text = verdict.sentence if isinstance(verdict, Wanted | No) else ""
    ended = rules.unlisted(record)
    wanted = not ended and (bool(verdict) or name == record.origin)
    if name == record.origin and not ended:
        code, text = "origin", f"{name} published it"
    ways = {name_of(holder): way for holder in holding if (way := gone(holder))}
    others = [f"{each} ({ways[each]})" if each in ways else each for each in names if each != name]
    left = gone(peer)
    weight = push_weight(candidate)
    copies = rules.settings.copies_of(kind)
    if ended:
        copies = 0
        said = [f"{text}. No node wants it; every file stays where it is, unless its node's `keep:` says no."]
    else:
        said = [f"{name} {_state(held, wanted)}: {text}."]
        if held and not wanted:
            said.append("It keeps what it has; nothing is evicted for that.")
        listed = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        said.append(f"Version {record.sequence} is held by {listed}." if others else "Nobody else holds it.")
        said += [sentence for sentence in (progress, held_back, all_gone) if sentence]
        if left and (held or wanted):
            said.append(f"But {name} is gone ({left}){': nobody gets it from there' if held else ''}.")
        said.append(f"{_copies(copies)} wanted beside its origin's, {_are(confirmed)} confirmed.")
    if held or not wanted or left:
        urgency = None
    if urgency is not None:
        source, drain = urgency
        safest = " (of its holders the least urgent)" if len(others) > 1 else ""
        said.append(f"Among what waits there it weighs {drain}: drain urgency of {source.name}{safest}.")
    if not left:
        said.append(f"As a partner {name} weighs {weight}.")
    plan = ""
    if record.origin == rules.myself().name:
        plan = rules.plan(kind).name
        said.append(f"We spread {kind} by the plan {plan}.")
    limit = rules.limit_of(peer)
    if not own and not left:
        rate = "no limit" if limit.rate is None else f"{limit.rate / 1e6:g} MB/s"
        said.append(f"Between us and {name}: {rate} ({limit.rule}).")
    budget = bool(spent) and not own and not held and not left and rules.me in holding
    if budget:
        said.append(f"From us it comes no sooner, unless it is asked for as critical: {spent}.")
    hindrance = "breaker" if held_back else "absent" if all_gone else "budget" if budget else ""
    return Explanation(
        record.key.text, name, code, wanted, held, tuple(names), copies, plan, weight.value,
        None if urgency is None else urgency[1].value, None if own else limit.rate, hindrance, " ".join(said),
    )  # fmt: skip


def _are(count: int) -> str:
    return "1 is" if count == 1 else f"{count} are"


def _copies(count: int) -> str:
    return "1 copy is" if count == 1 else f"{count} copies are"


def _state(held: bool, wanted: bool) -> str:
    if held:
        return "has it"
    return "will get it" if wanted else "does not have it"
