"""Would this name and one we published get into each other's way on some disk?

Two names do when they differ only in case, or when one, ignoring case, would be
a folder of the other. Only publishing asks this: what is admitted must not
depend on what else is there.
"""

from ringgossip.content.names import fold_name


class OwnNames:
    """The names one peer published, folded, and the folders they need."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._folders: dict[tuple[str, str], str] = {}  # -> some name that lies in it

    def add(self, kind: str, name: str) -> None:
        """Note a name that was published."""
        folded = fold_name(name)
        self._names[kind, folded] = name
        for folder in _folders(folded):
            self._folders[kind, folder] = name

    def collision(self, kind: str, name: str) -> str | None:
        """Return a published name that cannot lie beside `name` everywhere, or None."""
        folded = fold_name(name)
        alike = self._names.get((kind, folded))
        if alike is not None:
            return None if alike == name else alike
        inside = self._folders.get((kind, folded))
        if inside is not None:
            return inside
        return next((self._names[kind, at] for at in _folders(folded) if (kind, at) in self._names), None)


def _folders(folded: str) -> list[str]:
    parts = folded.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]
