"""Is this checkpoint whole? What `torch.save` writes is a zip: its directory and CRCs tell.

Files that are no zip (`.safetensors`, and `.pth` or `.pt` of old torch versions)
are accepted unchecked, and that is said. Nothing is ever unpickled.
Source: design, section 9.
"""

from pathlib import Path

from ringgossip.content.kinds.sources import Inspection, open_steady
from ringgossip.content.kinds.zips import check_members, read_directory
from ringgossip.errors import ArtifactRefused

_ZIP = b"PK\x03\x04"


def inspect_source(path: Path) -> Inspection:
    """Check `path` wholly if it is a zip, CRCs included; otherwise say that it was not checked.

    Raises `ArtifactRefused` with the reason when it is empty, torn or damaged.
    """
    with open_steady(path) as (file, size):
        if size == 0:
            raise ArtifactRefused(f"{path} is empty: publish it when it is written")
        if file.read(4) != _ZIP:
            return Inspection(warnings=(f"{path.name} is no zip: accepted unchecked, it may be torn",))
        try:
            members = read_directory(file, size)
            warnings = check_members(file, members)
        except ArtifactRefused as refusal:
            raise ArtifactRefused(f"{path} is no whole checkpoint: {refusal}") from None
    if not any(member.name.endswith("data.pkl") for member in members):
        warnings = (*warnings, f"{path.name} is a whole zip, but not laid out as torch.save does")
    return Inspection(warnings=warnings)


def check_arrival(path: Path) -> str | None:
    """Return why an arrived file is no whole model, or None. Structure only: its chunks were proven."""
    try:
        with open_steady(path) as (file, size):
            if size == 0:
                return "it is empty"
            if file.read(4) == _ZIP:
                read_directory(file, size)
    except ArtifactRefused as refusal:
        return str(refusal)
    return None
