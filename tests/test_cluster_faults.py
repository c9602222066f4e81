"""Rounds of faults under load, on three servers and three nodes that are programs of their own.

After each round: every acknowledged append is on every replica once, no refused one is anywhere, all digests are equal, and no
reader has skipped an event.
"""

import asyncio
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats
import pytest

from nats_servers import Cluster

PROGRAM = Path(__file__).with_name("cluster_node.py")
FAULTS = (
    "the leader is killed",
    "a follower is killed",
    "the leader is stopped",
    "a follower is stopped",
    "all servers are killed",
    "the leader is cut off",
    "a follower is cut off",
    "a node is killed",
    "a node is killed between publish and apply",
    "the disk of a replica is full",
)


class Node:
    """A node in a program of its own, and what it has told."""

    def __init__(self, place: str, name: str) -> None:
        self.place, self.name = place, name
        self.acked: list[str] = []
        self.refused: list[str] = []
        self.open: list[str] = []
        self.skipped: list[Any] = []
        self.answers: dict[str, Any] = {}
        self.errors: list[str] = []
        self._answered = threading.Condition()
        self.start()

    def start(self) -> None:
        self.answers.clear()
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), self.place, self.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._listener = threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True)
        self._listener.start()

    def _listen(self, lines: Any) -> None:
        for line in lines:
            word, *rest = json.loads(line)
            match word:
                case "acked" | "refused":
                    getattr(self, word).append(rest[0])
                case "open":
                    self.open.append(rest[0])
                    self.errors.append(rest[1])
                case "skipped":
                    self.skipped.append(rest)
                case _:
                    with self._answered:
                        self.answers[word] = rest
                        self._answered.notify_all()

    def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self, word: str) -> Any:
        with self._answered:
            if not self._answered.wait_for(lambda: word in self.answers, 60):
                self._show(f"no {word}")
            return self.answers.pop(word)

    def _show(self, what: str) -> None:
        """What its threads do is written to standard error."""
        self.process.send_signal(signal.SIGUSR1)
        time.sleep(1)
        raise AssertionError(f"{self.name}: {what}; {self.errors[-3:]}")

    def kill(self) -> None:
        self.process.kill()
        self.ended()

    def ended(self) -> None:
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self._show("it has not ended")
        self._listener.join()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.close()


class Rounds:
    """Three servers, three nodes, and what must be true after each round."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.cluster = Cluster(folder).start()
        self.nodes = [
            Node(f"nats://{self.cluster.hosts()}/orders?replica={folder / f'{n}.db'}", f"node{n}-{seed}") for n in range(3)
        ]
        for node in self.nodes:
            node.answer("ready")
        self._position = 0
        self._counted: Counter[str] = Counter()

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        self.cluster.mend()
        self.cluster.stop()

    def leader(self) -> int:
        async def ask() -> str:
            client = await nats.connect(self.cluster.hosts().split(",")[0])
            try:
                info = await client.jetstream().stream_info("hansard-orders")
                assert info.cluster is not None
                return str(info.cluster.leader)
            finally:
                await client.close()

        return int(asyncio.run(ask())[1:])

    def strike(self, fault: str) -> None:
        leader = self.leader()
        victim = leader if "leader" in fault else self.rng.choice([n for n in range(3) if n != leader])
        server, node = self.cluster.servers[victim], self.rng.choice(self.nodes)
        assert server.process is not None
        match fault.rsplit(maxsplit=1)[-1]:
            case "killed" if "servers" in fault:
                for one in self.cluster.servers:
                    one.kill()
                for one in self.cluster.servers:
                    one.start()
            case "killed" if "node" in fault:
                node.kill()
                self._again(node)
            case "killed":
                server.kill()
                self._pass_time()
                server.start()
            case "stopped":
                server.process.send_signal(signal.SIGSTOP)
                self._pass_time()
                server.process.send_signal(signal.SIGCONT)
            case "off":
                self.cluster.cut_off(victim)
                self._pass_time()
                self.cluster.mend()
            case "apply":
                node.tell("die")
                node.ended()
                assert node.process.returncode == -signal.SIGKILL
                self._again(node)
            case "full":
                node.tell("full")
                _wait(
                    lambda: any("disk" in error for error in node.errors[-5:]), lambda: "the node has not told of its full disk"
                )
                node.kill()
                node.errors.clear()
                self._again(node)

    def _pass_time(self) -> None:
        time.sleep(self.rng.choice([0.2, 1.0, 2.5]))

    def _again(self, node: Node) -> None:
        """Meanwhile the others go on without it."""
        others = [one for one in self.nodes if one is not node]
        goals = [len(one.acked) + 50 for one in others]
        _wait(
            lambda: all(len(one.acked) >= goal for one, goal in zip(others, goals, strict=True)),
            lambda: "the others did not go on",
        )
        node.start()
        node.answer("ready")

    def judge(self) -> None:
        goals = [len(node.acked) + 20 for node in self.nodes]
        _wait(
            lambda: all(len(n.acked) >= goal for n, goal in zip(self.nodes, goals, strict=True)),
            lambda: f"a node did not go on: {[node.errors[-2:] for node in self.nodes]}",
        )
        for node in self.nodes:
            node.tell("pause")
        sequence = max(node.answer("paused")[0] for node in self.nodes)
        for node in self.nodes:
            node.tell("report", sequence, self._position)
        reports = [node.answer("report") for node in self.nodes]
        digests, logs, seen, problems = zip(*reports, strict=True)
        assert len(set(digests)) == 1, digests
        assert digests[0]
        assert logs[0] == logs[1] == logs[2]
        assert [position for position, _ in logs[0]] == list(range(self._position + 1, self._position + len(logs[0]) + 1))
        self._position += len(logs[0])
        self._counted.update(data for _, data in logs[0])
        assert problems == ([], [], [])
        assert set(seen) == {self._position}
        acked = {data for node in self.nodes for data in node.acked}
        refused = {data for node in self.nodes for data in node.refused}
        unsure = {data for node in self.nodes for data in node.open}
        assert max(self._counted.values()) == 1, "an event is there twice"
        assert acked <= set(self._counted), "an acknowledged append is lost"
        assert refused.isdisjoint(self._counted), "a refused append is there"
        beyond = set(self._counted) - acked - unsure
        assert len(beyond) <= 4 * len(FAULTS) * 8, "appends are there that nobody made"
        assert not any(node.skipped for node in self.nodes)
        for node in self.nodes:
            node.tell("go")


def _wait(is_so: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    ends = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < ends, otherwise()
        time.sleep(0.02)


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(("rounds", "seed"), [(10, 1), pytest.param(40, 2, marks=pytest.mark.soak)])
def test_faults_under_load(rounds: int, seed: int, tmp_path: Path) -> None:
    """Whatever fails, an acknowledged append would be lost, doubled, or seen by one node alone."""
    those = Rounds(tmp_path, seed)
    try:
        faults = [FAULTS[n % len(FAULTS)] for n in range(rounds)]
        those.rng.shuffle(faults)
        for number, fault in enumerate(faults):
            started = time.monotonic()
            try:
                those.strike(fault)
                those.judge()
            except BaseException as error:
                error.add_note(f"round {number}, {fault}, seed {seed}")
                raise
            acked = sum(len(node.acked) for node in those.nodes)
            print(f"round {number}: {fault}: {time.monotonic() - started:.1f} s, {acked} acknowledged")
    finally:
        those.close()
