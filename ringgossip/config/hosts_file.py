"""What does a `distributed_hosts.yaml` say? It is read unchanged, key by key, with line numbers.

A key that means nothing here becomes a notice, never an error and never a
guess: the file has other readers. A key that we do read and whose value makes
no sense is an error with its line, like everywhere.

Source: field notes, section 4.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringgossip.config.hosts_keys import AUTO_SYNC, HOST, HOST_SILENT, RECEIVES, SECTIONS, SYNC_ROUTING, Check
from ringgossip.config.rules import ClusterRules, HostRules, Notice
from ringgossip.config.settings import DEFAULT_PORT
from ringgossip.config.words import KINDS, STATES
from ringgossip.errors import ConfigError, UsageError
from ringgossip.identity.names import Address, check_node_name

if TYPE_CHECKING:
    from ringgossip.config.yaml_nodes import Document, KeyPath, Problem

_SHARED_DISKS = ("nfs", "shared", "shared_nfs", "network")
_OWN_DISKS = ("local", "ssd", "nvme", "hdd", "disk", "external", "ephemeral", "ram", "ramdisk")


def is_hosts_file(value: Any) -> bool:
    """Tell whether a YAML document is a cluster file of the reference and no node.yaml."""
    return isinstance(value, dict) and "node" not in value and any(key in value for key in SECTIONS)


def read_hosts_file(path: Path, document: "Document | None" = None) -> ClusterRules:
    """Read the file at `path`, or what was read from it already.

    Raises `ConfigError` with one line for every value that makes no sense.
    """
    from ringgossip.config.yaml_nodes import read_document

    return _Reader(path, document or read_document(path)).rules()


class _Reader:
    """Goes through one document; collects problems and notices."""

    def __init__(self, path: Path, document: "Document") -> None:
        self._path = path
        self._document = document
        self._problems: list[Problem] = list(document.problems)
        self._notices: list[Notice] = []
        # Key that means nothing -> where it stands first, how often, and why.
        self._silent: dict[str, tuple[KeyPath, int, str]] = {}
        self._lines: dict[str, int] = {}

    def rules(self) -> ClusterRules:
        from ringgossip.config.yaml_nodes import dotted

        top = self._document.value
        if not isinstance(top, dict):
            raise ConfigError(f"{self._path}:1:1: must be keys and values, like `hosts:`")
        for key in top:
            if key not in SECTIONS:
                self._unknown((key,), SECTIONS)
        found = self._section("auto_sync", AUTO_SYNC) | self._section("sync_routing", SYNC_ROUTING)
        hosts = self._hosts()
        barred: dict[str, tuple[str, ...]] = found.pop("excluded_hosts", {})
        never = self._nodes(found.pop("exclude_hosts", ()), ("auto_sync", "exclude_hosts"), hosts)
        known = self._nodes(barred, ("sync_routing", "excluded_hosts"), hosts)
        excluded = {name: barred[name] for name in known} | dict.fromkeys(never, KINDS)
        first = found.pop("priority_hosts", ())
        found["priority_hosts"] = self._nodes(first, ("sync_routing", "priority_hosts"), hosts)
        self._check_disk(found)
        if self._problems:
            ordered = sorted(self._problems, key=lambda problem: problem.place)
            raise ConfigError("\n".join(problem.line(str(self._path)) for problem in ordered))
        for key, (path, count, why) in self._silent.items():
            # Forty hosts with the same key deserve one notice.
            where = dotted(path) if count == 1 else f"{path[0]}.*.{key}"
            times = f" (at {count} hosts)" if count > 1 else ""
            text = f"means nothing here: {why}{times}" if why else f"means nothing here{times}"
            self._notices.append(Notice(self._line(path), where, text))
        return ClusterRules(
            file=self._path.name,
            **found,
            excluded=excluded,
            hosts=hosts,
            lines=self._lines,
            notices=tuple(sorted(self._notices, key=lambda notice: notice.line)),
        )

    # --- sections -------------------------------------------------------------------------

    def _section(self, name: str, table: Mapping[str, tuple[str, Check]]) -> dict[str, Any]:
        given = self._mapping((name,))
        found: dict[str, Any] = {}
        for key, value in given.items():
            path: KeyPath = (name, key)
            if key not in table:
                self._unknown(path, table)
            elif value is not None:
                field, check = table[key]
                found |= self._read(path, value, check, field)
                self._lines[field] = self._document.keys[path].line
        for block, known in (("allowed_external_storage", "host"), ("excluded_hosts", "name")):
            entries = given.get(block)
            for index, entry in enumerate(entries if isinstance(entries, list) else ()):
                for key in entry if isinstance(entry, dict) else ():
                    path = (name, block, index, key)
                    if block == "allowed_external_storage" and key in ("path", "subdirs"):
                        self._silence(key, path, "replicas go below the data folder: give it with --data")
                    elif key not in (known, *RECEIVES):
                        self._unknown(path, (known, *RECEIVES))
        return found

    def _mapping(self, path: "KeyPath") -> dict[str, Any]:
        value: Any = self._document.value
        for step in path:
            value = value.get(step)
            if value is None:
                return {}
        if not isinstance(value, dict):
            self._problem(path, "must be a block of keys and values")
            return {}
        return value

    # --- hosts -------------------------------------------------------------------------------

    def _hosts(self) -> dict[str, HostRules]:
        hosts = {}
        for name in self._mapping(("hosts",)):
            try:
                check_node_name(name)
            except UsageError as error:
                self._notice(("hosts", name), f"left out: {error}")
                continue
            hosts[name] = self._host(name, self._mapping(("hosts", name)))
        return hosts

    def _host(self, name: str, given: dict[str, Any]) -> HostRules:
        found: dict[str, Any] = {}
        for key, value in given.items():
            path: KeyPath = ("hosts", name, key)
            if key in HOST_SILENT:
                self._silence(key, path, HOST_SILENT[key])
            elif key not in HOST:
                close = difflib.get_close_matches(key, [*HOST, *HOST_SILENT], n=1, cutoff=0.8)
                self._silence(key, path, f"did you mean {close[0]!r}?" if close else "")
            elif value is not None:
                found |= self._read(path, value, HOST[key], key)
                self._lines[f"hosts.{name}.{key}"] = self._document.keys[path].line
        if "storage_paths" in found:
            why = "replicas go below the data folder; to publish from these folders, write `share:`"
            self._silence("storage_paths", ("hosts", name, "storage_paths"), why)
        return HostRules(
            name=name,
            role="coordinator" if found.get("is_coordinator") else self._role(name, found.get("role")),
            state=self._state(name, found.get("status", "ready")),
            ephemeral=found.get("is_ephemeral", False),
            bandwidth=found.get("bandwidth_mbps"),
            addresses=self._addresses(name, found),
            reachable=not found.get("nat_blocked", False) and found.get("p2p_enabled", True),
            receives=not found.get("skip_sync_receive", False),
            shares_disk=self._shares_disk(name, found.get("storage_type")),
            storage_paths=found.get("storage_paths", {}),
            external_storage=found.get("use_external_storage"),
        )

    def _role(self, name: str, word: str | None) -> str:
        if word is None:
            return "selfplay"
        for part, role in (
            ("training", "training"),
            ("coordinator", "coordinator"),
            ("selfplay", "selfplay"),
            ("backbone", "backbone"),
            ("proxy", "proxy"),
        ):
            if part in word:
                return role
        self._notice(("hosts", name, "role"), f"{word!r} is no role here: the node counts as selfplay")
        return "selfplay"

    def _state(self, name: str, word: str) -> str:
        if word in STATES:
            return word
        self._notice(
            ("hosts", name, "status"), f"{word!r} is none of {', '.join(STATES)}: the node receives nothing"
        )
        return "suspended"

    def _shares_disk(self, name: str, word: str | None) -> bool:
        if word is None or word.lower() in _OWN_DISKS:
            return False
        if word.lower() in _SHARED_DISKS:
            return True
        self._notice(
            ("hosts", name, "storage_type"), f"{word!r} is unknown: the node shares its disk with nobody"
        )
        return False

    def _addresses(self, name: str, found: Mapping[str, Any]) -> tuple[Address, ...]:
        addresses = []
        for key in ("tailscale_ip", "ssh_host"):
            if key in found:
                try:
                    # An IPv6 address stands here without brackets.
                    text = f"[{found[key]}]" if found[key].count(":") > 1 else found[key].rpartition("@")[2]
                    addresses.append(Address.parse(text, DEFAULT_PORT))
                except UsageError as error:
                    self._notice(("hosts", name, key), f"left out: {error}")
        return tuple(dict.fromkeys(addresses))

    # --- what fits together ----------------------------------------------------------------------

    def _check_disk(self, found: dict[str, Any]) -> None:
        usual = ClusterRules(file="")
        stop = found.get("max_disk_usage_percent", usual.max_disk_usage_percent)
        resume = found.get("target_disk_usage_percent", usual.target_disk_usage_percent)
        if resume > stop:
            self._problem(
                ("sync_routing",), f"resumes at {resume:g} % but stops above {stop:g} %: nothing could resume"
            )

    def _nodes(
        self, names: Iterable[str], path: "KeyPath", hosts: Mapping[str, HostRules]
    ) -> tuple[str, ...]:
        """Return those of `names` that a node can have; one that is no host of this file may still be one."""
        good = []
        for name in names:
            if name not in hosts:
                self._notice(path, f"{name!r} is no host of this file")
            try:
                good.append(check_node_name(name))
            except UsageError:
                pass  # told already: no host of this file has such a name
        return tuple(good)

    # --- telling -----------------------------------------------------------------------------------

    def _read(self, path: "KeyPath", value: Any, check: Check, field: str) -> dict[str, Any]:
        try:
            return {field: check(value)}
        except ValueError as error:
            self._problem(path, str(error))
            return {}

    def _problem(self, path: "KeyPath", text: str) -> None:
        from ringgossip.config.yaml_nodes import Problem, dotted

        self._problems.append(Problem(self._document.place_of(path), dotted(path), text))

    def _line(self, path: "KeyPath") -> int:
        place = self._document.keys.get(path)
        return place.line if place is not None else self._document.place_of(path).line

    def _notice(self, path: "KeyPath", text: str) -> None:
        from ringgossip.config.yaml_nodes import dotted

        self._notices.append(Notice(self._line(path), dotted(path), text))

    def _unknown(self, path: "KeyPath", known: Any) -> None:
        close = difflib.get_close_matches(str(path[-1]), list(known), n=1, cutoff=0.75)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        self._notice(path, f"means nothing here{hint}")

    def _silence(self, key: str, path: "KeyPath", why: str) -> None:
        first, count, _ = self._silent.get(key, (path, 0, why))
        self._silent[key] = (first, count + 1, why)
