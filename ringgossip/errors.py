"""Who must act when something goes wrong? Every exception, grouped by that.

    RinggossipError
      UsageError         the caller: a wrong argument, name or file        exit 2
        ConfigError      the person who wrote the configuration file       exit 2
      OperationFailed    the operator: the world did not allow it          exit 1
        ArtifactRefused  the author of the artifact: it is torn or unsafe
        StoreError       the owner of the disk
        CredentialsError the person who enrolled this node
        TimedOut         nobody yet: it may still come true
        SnapshotPostponed  nobody yet: the database is locked, or its writer would be blocked
        PeerGone         the caller: the peer was closed or is not running
      PeerMisbehaved     another machine: never leaves the wire; counted and told as an event

Messages are one line and say what to do next.
"""


class RinggossipError(Exception):
    """The root of all errors that ringgossip raises on purpose."""

    exit_code = 1


class UsageError(RinggossipError, ValueError):
    """A wrong argument: nothing was changed."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file says something wrong; the text has file, line and column."""


class OperationFailed(RinggossipError):
    """What was asked could not be done."""


class ArtifactRefused(OperationFailed):
    """A file was not published, or not made visible, because of what is in it."""


class StoreError(OperationFailed):
    """The data folder is locked, full, damaged or not ours."""


class CredentialsError(OperationFailed):
    """Certificates or keys are missing, foreign or expired."""


class TimedOut(OperationFailed):
    """Not true yet when the time was over."""


class SnapshotPostponed(OperationFailed):
    """A live database was not copied now; the text says why, and what the owner of its writer can do."""


class PeerGone(OperationFailed):
    """The peer was closed, or none runs on this data folder."""


class PeerMisbehaved(RinggossipError):
    """Bytes from another machine broke a rule of the protocol."""
