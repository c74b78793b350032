"""How does a command start and end? Run it; whatever went wrong is one line and an exit code.

0 done, 1 failed or not yet true, 2 wrong usage or configuration, 130 stopped
by Ctrl-C. Errors go to standard error, `--json` or not, so that standard
output holds one object or nothing. A traceback means a bug of ours.
"""

import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ringgossip.errors import RinggossipError

if TYPE_CHECKING:
    import click

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, `sys.argv` unless given, and return its exit code."""
    if arguments is not None:
        return _run(arguments)
    _open_what_is_closed()
    try:
        return _run(sys.argv[1:])
    finally:
        # This process ends: looking for garbage in all its modules a last time is a sixth of a peer's CPU.
        gc.freeze()


def _open_what_is_closed() -> None:
    """Let standard streams that the caller closed (`>&-`) lead nowhere; nothing else gets their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123  For as long as we run.


def _run(arguments: Sequence[str]) -> int:
    import click

    from ringgossip.cli.app import app

    try:
        try:
            code = app.main(arguments, prog_name="ringgossip", standalone_mode=False)
            sys.stdout.flush()
            return code if isinstance(code, int) else 0
        except BaseExceptionGroup as group:
            # Tasks report in groups; a user's mistake is one error, however deep it was found.
            raise _only(group) from None
    except RinggossipError as error:
        return _fail(str(error), error.exit_code)
    except click.exceptions.Abort:
        return _fail("stopped", INTERRUPTED)
    except click.ClickException as error:
        return _fail(_usage(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped", INTERRUPTED)
    except BrokenPipeError:
        # The reader (`| head`) has seen enough. The interpreter must not flush into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # A disk or a socket that does not obey is for the operator, not for our bug list.
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", 1)


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error in `group` if it is one, else the group itself."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        if len(error.exceptions) != 1:
            return group
        error = error.exceptions[0]
    return error


def _usage(error: "click.ClickException") -> str:
    """Return click's complaint, and where the usage is told."""
    context = getattr(error, "ctx", None)
    hint = f" (see `{context.command_path} --help`)" if context else ""
    return f"{error.format_message().rstrip('.')}{hint}"


def _fail(text: str, code: int) -> int:
    for line in text.splitlines() or [""]:
        print(f"error: {line}", file=sys.stderr)
    return code
