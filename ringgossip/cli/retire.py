"""`ringgossip retire DIR --node NAME`: a node's machine is gone for good; what it published ends.

The order is signed by the authority, in the folder that `init` made. Whichever
peer gets it tells all others, so the authority's key need not be where a peer
runs: `-o FILE` writes the order, and `ringgossip retire FILE` hands it over.
"""

from pathlib import Path

import click

from ringgossip.cli.local import local_client
from ringgossip.cli.options import data_option, json_option
from ringgossip.cli.output import emit
from ringgossip.errors import UsageError


@click.command("retire")
@click.argument("place", metavar="DIR|FILE", type=click.Path(path_type=Path))
@click.option("--node", metavar="NAME", help="The node that is gone; with DIR.")
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write the order here.")
@data_option
@json_option
def command(place: Path, node: str | None, output: Path | None, data: Path | None, as_json: bool) -> None:
    """End what NAME published: sign that order with the authority in DIR, or take one from FILE.

    With --data it is handed to the local peer, from which all others hear it. No
    file is moved or deleted anywhere; a node that is enrolled again begins anew.
    """
    order, name = _signed(place, node) if place.is_dir() or node is not None else (_read(place), "")
    if output is None and data is None:
        raise UsageError("where to? hand the order to a peer with --data DIR, or write it with -o FILE")
    said: dict[str, object] = {"node": name, "order": None, "handed": False}
    if output is not None:
        _write(output, order)
        said["order"] = str(output.absolute())
    if data is not None:
        with local_client(data) as client:
            said |= {**client.retire(order), "handed": True}
    emit(said, as_json, lambda: _text(said))


def _signed(folder: Path, node: str | None) -> tuple[bytes, str]:
    from ringgossip.identity.authority import retire

    if node is None:
        raise UsageError(f"which node of {folder} is gone? name it with --node NAME")
    return retire(folder, node)[0], node


def _read(file: Path) -> bytes:
    from ringgossip.identity.pem import single_pem

    try:
        return single_pem(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        how = "`ringgossip retire DIR --node NAME -o FILE` writes one"
        raise UsageError(f"{file} is no order that retires a node: {how}") from None


def _write(file: Path, order: bytes) -> None:
    from ringgossip.identity.files import PUBLIC, write_whole
    from ringgossip.identity.pem import pem_of

    try:
        file.absolute().parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, pem_of(order), PUBLIC)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None


def _text(said: dict[str, object]) -> str:
    if said["handed"]:
        return f"{said['node']} is retired: what it published is listed no more; files stay where they are."
    file = said["order"]
    return (
        f"The order that retires {said['node']} is in {file}.\n"
        f"Give it to a peer:\n  ringgossip retire {file} --data DIR"
    )
