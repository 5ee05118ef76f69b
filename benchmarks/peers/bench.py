"""A run: servers in turns, each round between two looks at how quiet the machine is."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.peers import equality, plans
from benchmarks.peers.catalogue import PEERS, Peer, Way, bare_ways, ways
from benchmarks.peers.environments import NotInstalledError, python_of
from benchmarks.peers.kernels import Plan
from benchmarks.peers.loops import Loop
from benchmarks.peers.machine import OTHERS, SLOWER, spin, until_idle
from benchmarks.peers.record import BARE, FERRY, FERRY_ALL, Reading, Record
from benchmarks.peers.running import Bare, Server
from cli.cluster.ports import free
from serving.cpu import available_cpus

_MAIN = "import sys; from cli.main import main; sys.exit(main())"
MANY = 32
"""Callers at once."""
CLASSIFIER = "classifier"
"""The way of one of Ferry's classifiers alone."""


def way_name(*flags: str) -> str:
    """Of `ferry serve` with such flags."""
    return " ".join(flag.removeprefix("--") for flag in flags) or "serve"


def serve(*flags: str) -> tuple[int, list[str]]:
    """The gateway's port, and the command that starts `ferry serve` there; its other ports are free ones too."""
    port, http = free(2)
    ports = ("--port", str(port), "--http-port", str(http), "--metrics-port", "0")
    return port, [sys.executable, "-c", _MAIN, "serve", *ports, *flags]


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who is measured: opens the server when its turn comes.

    Attributes:
        open: makes the context; raises NotInstalledError, there or when it is entered.
    """

    server: str
    way: str
    precision: str
    open: Callable[[], AbstractContextManager[Server | Bare]]

    @property
    def name(self) -> str:
        """Server and way."""
        return f"{self.server} {self.way}"


class Bench:
    """What all parts share: models, photo, environments, the reference and the record."""

    def __init__(
        self, record: Record, models_dir: Path, work: Path, photo: bytes, say: Callable[[str], None],
        save: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """
        Args:
            record: what is measured goes there.
            models_dir: the model repository; it is copied without what was measured here before. Ferry takes what is
                delivered with a model, and measures the rest anew in this run.
            work: folder for environments and the copy.
            photo: what is sent.
            say: is told who is measured.
            save: is called after each round.
        """
        self.record, self.photo, self.say, self.work, self._save = record, photo, say, work, save
        self.models_dir = work / "models"
        # What this user's other runs measured is left alone.
        self._own_cache = {"XDG_CACHE_HOME": str(work / "cache")}
        for folder in (self.models_dir, work / "cache"):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(models_dir, self.models_dir, ignore=shutil.ignore_patterns("tuning-*.json"))
        self.cpus = available_cpus()
        self._best_spin = max(spin() for _ in range(3))
        self._plans: dict[str, Plan] = {}

    def plan(self, precision: str) -> Plan:
        """Of the kernels; the backends are measured once."""
        if precision not in self._plans:
            self._plans[precision] = plan = plans.make(self.models_dir, precision)
            names = [Path(folder).parent.name for folder in plan.models]
            self.record.backends[precision] = ", ".join(
                f"{name} {backend}" for name, backend in zip(names, plan.backends, strict=True)
            )
        return self._plans[precision]

    def bare(self, plan: Plan, way: Way, body: bytes) -> Contender:
        """Processes without a server."""
        plan = replace(plan, threads=way.threads)
        return Contender(
            BARE,
            way.name,
            plan.precision,
            lambda: Bare(Path(sys.executable), _environment(plan), way.workers, way.batch, body),
        )

    def peer(self, peer: Peer, plan: Plan, way: Way, body: bytes) -> Contender:
        """A peer with so many workers and threads."""
        plan = plans.run_in(plan, way, processes=peer.processes)

        def start() -> Server:
            python, (port,) = python_of(peer, self.work), free(1)
            command = [str(python), "-m", f"benchmarks.peers.servers.{peer.module}", str(port), str(way.workers)]
            return Server(command, _environment(plan), peer.door, port, body, plan.task)

        return Contender(peer.name, way.name, plan.precision, start)

    def ferry(
        self, precision: str, *flags: str, body: bytes | None = None, same: bool = False, everything: bool = False
    ) -> Contender:
        """`ferry serve`, optimized where the precision is less than float32, with more flags.

        Args:
            precision: `fp32` or `bf16`.
            flags: of `ferry serve`.
            body: what is sent; None: the photo.
            same: send the same bytes each time.
            everything: also look at a smaller copy first, which others' kernels do not.
        """
        reduced = () if precision == "fp32" else ("--optimized",)
        variables = {**self._own_cache, "FERRY_COARSE_FIRST": "auto" if everything else "off"}

        def start() -> Server:
            port, command = serve("--models-dir", str(self.models_dir), *flags, *reduced)
            return Server(command, variables, "ferry", port, body or self.photo, same=same)

        return Contender(FERRY_ALL if everything else FERRY, way_name(*flags), precision, start)

    def ferry_classifier(self, precision: str, model: str, body: bytes) -> Contender:
        """One of Ferry's classifiers, without gateway and ensembler."""

        def start() -> Server:
            (port,) = free(1)
            command = [sys.executable, "-m", "services.classifier", "--models", model, "--port", str(port)]
            command += ["--models-dir", str(self.models_dir), "--log-level", "warning"]
            command += [] if precision == "fp32" else ["--optimized"]
            return Server(command, self._own_cache, "ferry-classifier", port, body, "classify")

        return Contender(FERRY, CLASSIFIER, precision, start)

    def visit(
        self, part: str, contender: Contender, loads: list[tuple[int, float]], expected: object = None, faces: int = 1
    ) -> None:
        """Starts it, looks at its answer, and lets it answer so many callers for so many seconds, one after another.

        What cannot be started is noted as missing, what answers something else is noted too and not measured.
        """
        name = f"{contender.server} {contender.way} {contender.precision}"
        self.say(f"{part}: {name}")
        with self.noted(contender), contender.open() as server:
            self.check(name, server.answer, expected, contender.precision)
            for callers, seconds in loads:
                self.take(part, contender, server, partial(server.closed, callers, seconds), callers, faces=faces)

    def check(self, name: str, answer: object, expected: object, precision: str) -> None:
        """
        Raises:
            _DiffersError: it is another answer.
        """
        if expected is not None and (said := equality.difference(answer, expected, precision)):
            self.record.differing[name] = said
            raise _DiffersError(said)
        self.record.differing.pop(name, None)

    @contextmanager
    def noted(self, contender: Contender) -> Iterator[None]:
        """Lets a run go on without somebody who cannot take part."""
        try:
            yield
            self.record.missing.pop(contender.server, None)
        except NotInstalledError as error:
            self.record.missing[contender.server] = str(error)
            self.say(f"   not measured: {error}")
        except _DiffersError as error:
            self.say(f"   not measured, it answers something else: {error}")

    def take(
        self, part: str, contender: Contender, server: Server | Bare, load: Callable[[], Loop], callers: int,
        faces: int = 1, rate: float = 0.0,
    ) -> Reading:  # fmt: skip
        """One round, and once more where something disturbed it."""
        for _ in range(2):
            before = spin()
            loop = load()
            until_idle(server.pids)
            after = spin()
            self._best_spin = max(self._best_spin, before, after)
            reference = min(before, after) / self._best_spin
            disturbed = reference < SLOWER or loop.others > OTHERS
            if not disturbed:
                break
        memory = server.memory_mb() if callers == MANY else 0.0
        reading = Reading(
            part, contender.server, contender.way, contender.precision, callers, loop.per_second, loop.percentile(50),
            loop.percentile(99), loop.cpu_ms, memory, loop.errors, reference, loop.others,
            disturbed, faces, rate,
        )  # fmt: skip
        self.record.readings.append(reading)
        self._save()
        return reading

    def everybody(self, precision: str, body: bytes, only: Callable[[str], bool]) -> list[Contender]:
        """Every way of everybody that is wanted, bare processes first."""
        plan = self.plan(precision)
        found = [self.bare(plan, way, body) for way in bare_ways(self.cpus)]
        found += [self.peer(peer, plan, way, body) for peer in PEERS for way in ways(self.cpus)]
        return [contender for contender in found if contender.server == BARE or only(contender.name)]


class _DiffersError(Exception):
    """Another answer than the kernels'."""


def _environment(plan: Plan) -> dict[str, str]:
    return {**plan.environment(), "OMP_NUM_THREADS": str(plan.threads)}
