"""What do the users of a made world do, and when? The workload of a story, put on the kernel's queue."""

from random import Random
from typing import TYPE_CHECKING

from ringgossip.content.record import ArtifactKey
from ringgossip.simulation import ruling
from ringgossip.simulation.kernel import VERB
from ringgossip.simulation.scenario import (
    Change,
    Day,
    Fill,
    Publish,
    Retire,
    Story,
    Terminate,
    Train,
    Withdraw,
)
from ringgossip.simulation.users import Sync, Told, ask

if TYPE_CHECKING:
    from ringgossip.simulation.world import World


def schedule(story: Story, world: "World") -> None:
    """Let every task of the story happen."""
    for number, task in enumerate(story.tasks):
        generator = world.kernel.generator("task", number)
        match task:
            case Publish():
                for index in story.peers_of(task.by):
                    _publish(world, task, index, task.at + task.spread * generator.random())
            case Train():
                for index in story.peers_of(task.peers):
                    _train(world, task, index)
            case Sync() | Told():
                ask(story, world, task)
            case Terminate():
                for index in story.peers_of(task.peers):
                    _terminate(world, task, index, generator)
            case Withdraw():
                for index in story.peers_of(task.by):
                    when = task.at + task.spread * generator.random()
                    world.kernel.after(when, _withdraw, world, task, index)
            case Retire():
                [by, *_] = story.peers_of(task.by)
                for index in story.peers_of(task.peers):
                    world.kernel.after(task.at, world.retire, story.names[index], by)
            case Fill():
                for index in story.peers_of(task.peers):
                    world.kernel.after(task.at, ruling.fill, world, index, task.used, task.free)
            case Change():
                for index in story.peers_of(task.peers):
                    world.kernel.after(task.at, _change, world, task, index)
            case Day():
                days = sum(isinstance(other, Day) and other.at <= task.at for other in story.tasks)
                world.kernel.after(task.at, ruling.new_day, world, days)


def _publish(world: "World", task: Publish, index: int, when: float) -> None:
    def publish() -> None:
        node = world.nodes[index]
        # Who is down when its file is ready publishes the next one.
        if node.running and not node.paused:
            world.publish(
                index,
                task.kind,
                task.name,
                size=task.size,
                chunk_size=task.chunk_size,
                changed=task.changed,
                metadata=task.metadata,
                same_as=task.same_as,
            )
        if task.every is not None and (task.until is None or world.now + task.every <= task.until):
            world.kernel.after(task.every, publish)

    world.kernel.after(max(0.0, when - world.now), publish)


def _withdraw(world: "World", task: Withdraw, index: int) -> None:
    core = world.nodes[index].core
    key = ArtifactKey(task.kind, world.nodes[index].name, task.name)
    if core is not None and core.catalog.get(key) is not None:
        world.withdraw(index, task.kind, task.name)


def _change(world: "World", task: Change, index: int) -> None:
    ruling.change(
        world, index, role=task.role, state=task.state, ephemeral=task.ephemeral, send_limit=task.send_limit
    )


def _train(world: "World", task: Train, index: int) -> None:
    world.kernel.after(task.at, world.train, index, True)
    world.kernel.after(task.at + task.seconds, world.train, index, False)


def _terminate(world: "World", task: Terminate, index: int, generator: Random) -> None:
    def dark() -> None:
        world.gone[index] = None
        if world.nodes[index].running:
            world.crash(index, machine=True)

    def noticed(seconds: float) -> None:
        node = world.nodes[index]
        if node.core is not None and seconds > 0:
            node.give(VERB, 0, node.core.drain, 0, seconds)

    def leaves() -> None:
        world.gone[index] = None
        if world.nodes[index].running:
            world.leave(index)

    when = task.at + task.spread * generator.random()
    if task.notice is None:
        world.kernel.after(when, dark)
    else:
        world.kernel.after(when, noticed, task.notice)
        world.kernel.after(when + task.notice, leaves)
