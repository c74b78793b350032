"""Which commands are there? One table; a command's module is loaded only when it runs.

To add one: write `cli/<name>.py` with a click command called `command`, and
add its line here. The sentence stands here too, so that `--help` loads none.
"""

import difflib
import importlib

import click

from ringgossip import __version__

# name -> (module, what it does), in the order in which people need them.
COMMANDS = {
    "init": ("ringgossip.cli.init", "make a cluster: its authority and gossip key"),
    "enroll": ("ringgossip.cli.enroll", "write the credentials of one node"),
    "peer": ("ringgossip.cli.peer", "run this node's peer until SIGTERM"),
    "publish": ("ringgossip.cli.publish", "share a file, and wait for copies of it"),
    "artifacts": ("ringgossip.cli.artifacts", "show what exists, and who holds it"),
    "withdraw": ("ringgossip.cli.withdraw", "end what this node published; files stay"),
    "retire": ("ringgossip.cli.retire", "end what a node published that is gone for good"),
    "members": ("ringgossip.cli.members", "show who is there"),
    "sync": ("ringgossip.cli.sync", "bring artifacts to nodes, and say what became of each"),
    "drain": ("ringgossip.cli.drain", "bring what only this node holds to others"),
    "transfers": ("ringgossip.cli.transfers", "show what is being pulled now"),
    "status": ("ringgossip.cli.status", "say how the local peer is, and what to do about it"),
    "explain": ("ringgossip.cli.explain", "say why a node has, lacks or will get an artifact"),
    "watch": ("ringgossip.cli.watch", "print what happens, as it happens"),
    "demo": ("ringgossip.cli.demo", "run five peers and a live writer here, and judge them"),
    "simulate": ("ringgossip.cli.simulate", "tell a story with simulated peers, and judge its promises"),
    "config": ("ringgossip.cli.config_command", "show or check what a node.yaml means"),
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and loads the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"there is no command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, sentence) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=False,
    invoke_without_command=True,
)
@click.version_option(__version__, prog_name="ringgossip")
@click.pass_context
def app(context: click.Context) -> None:
    """Replicate games, models and training arrays between peers, with no leader."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
