"""A node pays for what leaves it: does its byte budget hold, also over a restart?"""

import os
from pathlib import Path

from cluster import Cluster, until

MB = 1_000_000


def test_no_more_leaves_than_the_budget_says_also_after_a_restart(cluster: Cluster, tmp_path: Path) -> None:
    giver = cluster.node("giver", budget={"send_bytes_per_day": 3 * MB})
    taker = cluster.node("taker")
    for node in (giver, taker):
        node.start(wait=False)
    for node in (giver, taker):
        node.ready()
    cluster.meet(giver, taker)
    file = tmp_path / "best.pth"
    file.write_bytes(os.urandom(8 * MB))
    artifact = giver.client.publish("models", file).artifact
    (spent,) = until(lambda: giver.events("BudgetSpent"), "the budget to be used up")
    received = spent["bytes"]
    assert 0 < received < 3 * MB + 2**20, "the chunk that was begun goes to its end"
    until(lambda: taker.counter("chunk_bytes_received") == received, "what has left to arrive")
    assert not taker.holds(artifact)
    # What has left is remembered, and both sides say so as soon as they meet.
    giver.stop()
    giver.start()
    cluster.meet(giver, taker)
    until(lambda: giver.events("BudgetSpent"), "the budget to be told of again")
    told = until(lambda: taker.events("TransferStalled"), "the taker to hear why nothing comes")
    assert told[-1]["reason"].startswith("giver: byte budget spent until 2")
    spent = giver.client.status()["sync"]["budget"]
    assert spent == told[-1]["reason"].removeprefix("giver: ")
    assert giver.client.status()["verdict"].startswith(spent)
    assert spent in taker.client.status()["verdict"]
    for node in (giver, taker):
        assert spent in node.client.explain(artifact.text, "taker")["sentence"]
    assert taker.counter("chunk_bytes_received") == received
    assert not taker.holds(artifact)
