"""May this be the name of an artifact? The same answer when we publish and when we receive.

Names become paths below every member's store, so a name must stay inside its
folder and mean the same file on every file system: relative, separated by '/',
in composed form (NFC). The answer must not depend on who asks: admission to the
catalog uses it. Python versions carry different Unicode tables, therefore the
composed form is judged by the one table that is in all of them (Unicode 3.2).
Source: design sections 4 and 7; Microsoft, "Naming Files, Paths, and Namespaces".
"""

import re
from typing import Final
from unicodedata import ucd_3_2_0

from ringgossip.errors import UsageError

MAX_NAME_BYTES: Final = 255
MAX_COMPONENTS: Final = 8
# A kept version is stored as `<name>@<sequence>`, and file systems end at 255 bytes.
MAX_COMPONENT_BYTES: Final = 255 - len("@") - len(str(2**53))

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_KEPT_VERSION = re.compile(r"@[0-9]+\Z")
_WINDOWS_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?:\.|\Z)", re.IGNORECASE
)


def check_artifact_name(name: str) -> str | None:
    """Return why `name` may not name an artifact, or None when it may."""
    # Before anything that costs time: a character has at least one byte.
    if len(name) > MAX_NAME_BYTES:
        return f"it is longer than {MAX_NAME_BYTES} bytes"
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "it is not valid UTF-8"
    if not encoded:
        return "it is empty"
    if len(encoded) > MAX_NAME_BYTES:
        return f"it is longer than {MAX_NAME_BYTES} bytes"
    if _CONTROL.search(name):
        return "it has a control character"
    if "\\" in name:
        return "it has a backslash"
    if name.startswith("/"):
        return "it is absolute"
    if ucd_3_2_0.normalize("NFC", name) != name:
        return "its accents are decomposed (not Unicode NFC)"
    components = name.split("/")
    if len(components) > MAX_COMPONENTS:
        return f"it has more than {MAX_COMPONENTS} components"
    for component in components:
        problem = _component_problem(component)
        if problem is not None:
            return problem
    return None


def _component_problem(component: str) -> str | None:
    if component in ("", ".", ".."):
        return f"it has the component '{component}'"
    if len(component.encode()) > MAX_COMPONENT_BYTES:
        return f"one component is longer than {MAX_COMPONENT_BYTES} bytes"
    if component[-1] in ". ":
        return "a component ends in a dot or a space"
    if _WINDOWS_DEVICE.match(component):
        return f"{component!r} is reserved by Windows"
    if component.casefold().startswith(".ringgossip"):
        return "components that start with '.ringgossip' are reserved"
    if _KEPT_VERSION.search(component):
        return "a component that ends in '@' and digits is reserved for versions that were kept"
    return None


def require_artifact_name(name: str) -> str:
    """Return `name` if it may name an artifact, else raise `UsageError` with the reason."""
    problem = check_artifact_name(name)
    if problem is not None:
        shown = name if len(name) <= 80 else name[:77] + "..."
        raise UsageError(f"{shown!r} cannot name an artifact: {problem}; give another one with --name")
    return name


def fold_name(name: str) -> str:
    """Return what a file system that ignores case makes of `name`."""
    return ucd_3_2_0.normalize("NFC", name.casefold())
