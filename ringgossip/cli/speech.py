"""How does an event sound? One line for a person who reads a log or watches a peer."""

from ringgossip import events
from ringgossip.cli.output import bytes_text, seconds_text
from ringgossip.events import Event


def sentence(event: Event) -> str:
    """Return one printable line."""
    text = _sentence(event)
    # Names and reasons may come from other machines.
    return text if text.isprintable() else ascii(text)[1:-1]


def is_news(event: Event) -> bool:
    """Tell whether it belongs in a log: who comes and goes, and what somebody should look at."""
    return isinstance(event, _NEWS)


_NEWS = (
    events.PeerJoined,
    events.PeerRecovered,
    events.PeerRestarted,
    events.PeerLeft,
    events.PeerLost,
    events.NameTakenOver,
    events.ClonedIdentity,
    events.DatagramsBlocked,
    events.StrangerRefused,
    events.GossipKeysRefused,
    events.PeerProtocolError,
    events.ArtifactRejected,
    events.ArtifactShrank,
    events.ArtifactConflict,
    events.OriginEquivocated,
    events.PublicationWithdrawn,
    events.ArtifactWithdrawn,
    events.NodeRetired,
    events.TransferStalled,
    events.BadChunk,
    events.StorageTrouble,
    events.CertificateExpires,
    events.SnapshotDeferred,
    events.DataSyncFailed,
    events.OrphanGamesRegistered,
    events.ReceivingChanged,
    events.CopiesMissing,
    events.CopiesComplete,
    events.BudgetSpent,
    events.BreakerOpened,
    events.TerminationNoticed,
    events.DrainCompleted,
)


def _sentence(event: Event) -> str:
    match event:
        case events.PeerJoined():
            return f"joined: {event.name} at {event.address}"
        case events.PeerSuspected():
            return f"suspected: {event.name} does not answer"
        case events.PeerRecovered():
            return f"recovered: {event.name} answers again"
        case events.PeerRestarted():
            return f"restarted: {event.name} at {event.address}"
        case events.PeerLost():
            return f"lost: {event.name} did not answer in time"
        case events.PeerLeft():
            return f"left: {event.name} said goodbye"
        case events.NameTakenOver():
            return f"taken over: {event.name} now has a certificate of generation {event.generation}"
        case events.ClonedIdentity():
            return f"cloned: {event.address} runs with our key; enroll one of the two under another name"
        case events.DatagramsBlocked():
            return f"UDP to {event.name} is blocked: everything goes over TCP"
        case events.StrangerRefused():
            return f"refused a stranger at {event.address}: {event.reason}"
        case events.GossipKeysRefused():
            return f"refused by a member at {event.address}: {event.reason}"
        case events.PeerProtocolError():
            return f"{event.name} broke the protocol: {event.reason}"
        case events.ArtifactAnnounced():
            return f"announced: {_version(event)}, {bytes_text(event.size)}"
        case events.ArtifactCompleted():
            return f"complete: {_version(event)}, {bytes_text(event.size)}, at {event.path}"
        case events.ArtifactShown():
            return f"shown: {_version(event)} at {event.path}, where {event.via} put it"
        case events.ArtifactRejected():
            return f"rejected: {_version(event)}: {event.reason}"
        case events.ArtifactShrank():
            return f"shrank: {_version(event)} ({event.reason}); the one before it is kept as {event.kept_as}"
        case events.ArtifactConflict():
            return (
                f"conflict: {event.winner} and {event.loser} both published {event.kind} {event.name}; "
                f"{event.winner} wins"
            )
        case events.OriginEquivocated():
            return f"equivocated: {_version(event)} was signed twice with different content"
        case events.PublicationWithdrawn():
            return f"no longer served from here: {_version(event)}: {event.reason}"
        case events.ArtifactWithdrawn():
            return f"withdrawn: {_version(event)} by its origin; files stay where they are"
        case events.NodeRetired():
            return f"retired: what {event.name} published is listed no more; files stay where they are"
        case events.TransferStarted():
            return f"pulling: {_version(event)}, {bytes_text(event.size)}"
        case events.TransferStalled():
            return f"stalled: {_version(event)}: {event.reason}"
        case events.BadChunk():
            return f"bad chunk: {event.name} sent a wrong chunk {event.index} of {event.artifact}"
        case events.CopyConfirmed():
            return f"confirmed: {event.holder} holds {_version(event)}"
        case events.StorageTrouble():
            return f"disk: {event.reason}"
        case events.CertificateExpires():
            return f"certificate: {event.reason}"
        case events.EventsMissed():
            return f"missed: {event.count} events came faster than they were read"
        case events.SnapshotDeferred():
            return f"snapshot deferred: {event.path}: {event.reason}"
        case events.DataSync():
            return _sync_sentence(event)
        case events.OrphanGamesRegistered():
            wanted = f" of {event.config_key}" if event.config_key else ""
            return f"orphans: {event.file_count} databases{wanted} that {event.node_id} has are safe here"
        case events.ReceivingChanged():
            return f"receiving {event.kind}: {f'no, {event.reason}' if event.code else 'yes, again'}"
        case events.PushRefused():
            return f"{event.name} takes no {event.kind}: {event.reason}"
        case events.CopiesMissing():
            waited = seconds_text(event.oldest)
            return f"copies missing: {event.artifacts} {event.kind} have too few, the oldest for {waited}"
        case events.CopiesComplete():
            return f"copies complete: all {event.kind} have theirs"
        case events.ArtifactEvicted():
            held = f"held by {', '.join(event.holders)}" if event.holders else "listed no more"
            return f"evicted: {_version(event)}: {event.reason}; {held}"
        case events.BudgetSpent():
            return f"budget: the {bytes_text(event.bytes)} of this {event.period} have left"
        case events.BreakerOpened():
            wait = seconds_text(event.seconds)
            return f"{event.name} by {event.route}: {event.reason}; tried again in {wait}"
        case events.BreakerClosed():
            return f"{event.name} by {event.route}: works again"
        case events.TerminationNoticed():
            return f"the machine goes away, says {event.source}: draining"
        case events.DrainCompleted():
            left = f"; too few copies of {', '.join(event.below)}" if event.below else ""
            return f"drained: {event.copied} artifacts have their copies{left}"
    fields = ", ".join(f"{name}={value}" for name, value in event.as_dict().items() if name != "event")
    return f"{type(event).__name__}: {fields}"


def _sync_sentence(event: events.DataSync) -> str:
    what = " ".join(word for word in (event.sync_type, "sync of", event.data_type or "data") if word)
    match event:
        case events.DataSyncStarted():
            return f"{what} to {', '.join(event.targets) or 'all'} started"
        case events.DataSyncFailed():
            return f"{what}{f' to {event.target_node}' if event.target_node else ''} failed: {event.error}"
    took, moved = seconds_text(event.duration), bytes_text(event.bytes_transferred)
    return f"{what}: {event.file_count} files, {moved} in {took}"


def _version(event: Event) -> str:
    return f"{getattr(event, 'artifact', '')}@{getattr(event, 'sequence', '')}"
