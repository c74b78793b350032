"""Virtual time: events in order, alarms, boots, generators and the run's hash."""

from random import Random

from ringgossip.simulation.kernel import ALARM, ANY_BOOT, NEVER, NOBODY, OTHER, Kernel, derive
from ringgossip.simulation.world import World


def test_events_happen_in_order_of_time_and_those_of_one_instant_in_order_of_asking() -> None:
    kernel = Kernel(1)
    seen: list[tuple[float, str]] = []
    for when, name in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (3.0, "d")):
        kernel.at(when, NOBODY, ANY_BOOT, lambda name=name: seen.append((kernel.now, name)))
    kernel.run(2.5)
    assert seen == [(1.0, "a"), (1.0, "b"), (2.0, "c")]
    assert kernel.now == 2.5
    assert kernel.next_time() == 3.0


def test_an_event_asked_for_in_the_past_happens_now() -> None:
    kernel = Kernel(1)
    kernel.run(5.0)
    seen: list[float] = []
    kernel.at(1.0, NOBODY, ANY_BOOT, lambda: seen.append(kernel.now))
    kernel.run(6.0)
    assert seen == [5.0]


def test_events_of_an_earlier_boot_never_happen() -> None:
    kernel = Kernel(1)
    owner = kernel.add_owner()
    seen: list[str] = []
    boot = kernel.reboot(owner, None)
    kernel.at(1.0, owner, boot, seen.append, "old")
    kernel.at(1.0, owner, ANY_BOOT, seen.append, "packet")
    boot = kernel.reboot(owner, None)
    kernel.at(1.0, owner, boot, seen.append, "new")
    kernel.run(2.0)
    assert seen == ["packet", "new"]


def test_an_alarm_rings_once_at_the_last_time_it_was_set_to() -> None:
    kernel = Kernel(1)
    owner = kernel.add_owner()
    rung: list[float] = []
    kernel.reboot(owner, lambda: rung.append(kernel.now))
    kernel.set_alarm(owner, 5.0)
    kernel.set_alarm(owner, 2.0)
    kernel.set_alarm(owner, 4.0)
    kernel.run(10.0)
    assert rung == [4.0]


def test_an_alarm_set_while_ringing_rings_again() -> None:
    kernel = Kernel(1)
    owner = kernel.add_owner()
    rung: list[float] = []

    def ring() -> None:
        rung.append(kernel.now)
        if len(rung) < 3:
            kernel.set_alarm(owner, kernel.now + 1.0)

    kernel.reboot(owner, ring)
    kernel.set_alarm(owner, 9.0)
    kernel.set_alarm(owner, 1.0)
    kernel.run(20.0)
    assert rung == [1.0, 2.0, 3.0]


def test_an_alarm_set_to_never_does_not_ring() -> None:
    kernel = Kernel(1)
    owner = kernel.add_owner()
    rung: list[float] = []
    kernel.reboot(owner, lambda: rung.append(kernel.now))
    kernel.set_alarm(owner, 1.0)
    kernel.set_alarm(owner, NEVER)
    kernel.run(5.0)
    assert rung == []
    kernel.set_alarm(owner, 6.0)
    kernel.run(7.0)
    assert rung == [6.0]


def test_a_restart_silences_the_old_alarm() -> None:
    kernel = Kernel(1)
    owner = kernel.add_owner()
    rung: list[str] = []
    kernel.reboot(owner, lambda: rung.append("old"))
    kernel.set_alarm(owner, 1.0)
    kernel.reboot(owner, lambda: rung.append("new"))
    kernel.set_alarm(owner, 2.0)
    kernel.run(5.0)
    assert rung == ["new"]


def test_generators_differ_by_every_label_and_repeat_for_the_same_ones() -> None:
    kernel = Kernel(7)
    first = [kernel.generator("loss", 3).random() for _ in range(2)]
    assert first[0] == first[1]
    labels = (("loss", 4), ("delay", 3), ("loss3",), (3, "loss"))
    others = {kernel.generator(*some).random() for some in labels}
    assert len(others | set(first)) == 5
    assert Kernel(8).generator("loss", 3).random() != first[0]


def test_who_publishes_less_because_of_a_fault_does_not_change_what_others_publish() -> None:
    def second_version(also: bool) -> bytes:
        world = World(2, seed=1)
        world.start()
        for size in (9_000_000, 9_100_000):
            for peer in (1, 0) if also else (0,):
                world.publish(peer, "models", "best.pth", size=size, changed=0.5)
        return world._contents[0, "models", "best.pth"][1].root

    assert second_version(also=True) == second_version(also=False)


def test_the_first_draws_of_a_seed_are_the_same_on_every_python() -> None:
    assert derive(7, "loss", 3) == 0xFF0B7C344E62CD09512392508C065996
    generator = Kernel(7).generator("loss", 3)
    assert (generator.random(), generator.getrandbits(32)) == (0.9868456650019626, 2493376580)


def test_shuffling_changes_the_order_of_one_instant_only_and_repeats_for_a_seed() -> None:
    def order(seed: int, shuffle: bool) -> list[int]:
        kernel = Kernel(seed, shuffle=shuffle)
        seen: list[int] = []
        for i in range(20):
            kernel.at(1.0 + (i >= 10), NOBODY, ANY_BOOT, seen.append, i)
        kernel.run(3.0)
        return seen

    assert order(1, False) == list(range(20))
    assert order(1, True) == order(1, True) != order(2, True)
    assert sorted(order(1, True)[:10]) == list(range(10)) != order(1, True)[:10]


def test_the_run_hash_depends_on_what_happened_to_whom_and_when() -> None:
    def run(owner: int, kind: int, detail: int, text: str, when: float) -> str:
        kernel = Kernel(1)
        kernel.run(when)
        kernel.note(owner, kind, detail, text)
        return kernel.run_hash

    base = run(1, OTHER, 5, "x", 1.0)
    assert base == run(1, OTHER, 5, "x", 1.0)
    changed = {
        run(2, OTHER, 5, "x", 1.0), run(1, ALARM, 5, "x", 1.0), run(1, OTHER, 6, "x", 1.0),
        run(1, OTHER, 5, "y", 1.0), run(1, OTHER, 5, "x", 2.0),
    }  # fmt: skip
    assert len(changed | {base}) == 6


def test_what_is_asked_for_at_the_end_of_time_never_happens_and_running_until_then_ends() -> None:
    kernel = Kernel(1)
    seen: list[str] = []
    kernel.at(NEVER, NOBODY, ANY_BOOT, seen.append, "never")
    kernel.at(1e308, NOBODY, ANY_BOOT, seen.append, "as good as never")
    kernel.at(1.0, NOBODY, ANY_BOOT, seen.append, "soon")
    kernel.run(NEVER)
    assert (seen, kernel.now, kernel.next_time()) == (["soon"], 1.0, NEVER)


def test_whenever_events_are_asked_for_they_happen_in_order() -> None:
    kernel, generator = Kernel(1), Random(5)
    asked: list[tuple[float, int]] = []
    happened: list[tuple[float, int]] = []

    def happen(number: int) -> None:
        happened.append((kernel.now, number))
        if len(asked) < 3000:
            # From the same instant to far beyond what is put in order at a time.
            ask(kernel.now + generator.choice((0.0, 0.001, 0.02, 0.5)) * generator.random())

    def ask(when: float) -> None:
        asked.append((when, len(asked)))
        kernel.at(when, NOBODY, ANY_BOOT, happen, len(asked) - 1)

    for _ in range(20):
        ask(0.0)
    while len(happened) < len(asked):
        kernel.run(kernel.now + 0.013)
    assert happened == sorted(asked)
