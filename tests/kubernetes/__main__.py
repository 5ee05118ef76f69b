"""`python -m tests.kubernetes` (`make cluster-test`): scenarios on a disposable cluster.

The cluster is that of KUBECONFIG, whose context FERRY_E2E_CONTEXT names; or one that FERRY_CLUSTER starts, a program
that is called as `PROGRAM run --nodes 2 --policies --metrics --image FILE ... -- COMMAND ...` and runs COMMAND with the
KUBECONFIG of a fresh cluster; it is looked for in ../shared/tools/cluster, too. What follows `--` goes to pytest.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from deploy.images import base
from deploy.images.build import REGISTRY, ROOT, build, version
from deploy.images.check import CPU, make
from deploy.images.tool import ImagesError, call
from deploy.images.tool import missing as missing_programs
from tests.kubernetes.previous import newest, prepare
from tests.kubernetes.scenarios.outcome import OK, SKIPPED

TESTS = "tests/kubernetes"
OUT = Path(os.environ.get("FERRY_E2E_OUT", ROOT / "out" / "cluster-test"))
OUTCOMES = OUT / "cluster-test.json"
"""What scenarios came to, kept after each."""
IMAGES = ("gateway", "ensembler", "judge", "redis", "models", "detector", "classifier")
NOT_IN_CORE = frozenset({"judge", "models"})
PROMETHEUS = ("tests/kubernetes/scenarios/prometheus.Dockerfile", f"{REGISTRY}/prometheus:test")
NEXT = ("tests/kubernetes/scenarios/next.Dockerfile", f"{REGISTRY}/classifier-next:{version()}")
PLACES = (ROOT.parent / "shared" / "tools" / "cluster",)
PROGRAMS = {
    "buildah": "buildah",
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "openssl": "openssl",
    "nsenter": "util-linux",
}
LEAST_MEMORY, LEAST_DISK = 6 << 30, 15 << 30
"""Bytes that must be free for a cluster of two nodes with Ferry on them, and for the images on both."""
BUILD_MINUTES = 15
"""In which the images must be built, where they have to be."""
GRACE = 0.3
"""Of `--minutes`: no scenario begins in the last of it, and at the end of it the run is stopped."""
CUT = {
    f"FERRY_E2E_{verb}": f'ip link set "n${{NODE#node-}}" {state}' for verb, state in (("CUT", "down"), ("MEND", "up"))
}
"""How a node of a cluster of FERRY_CLUSTER loses its network and gets it back."""


def lacking() -> str:
    """Why no cluster can be started here; empty: one can."""
    program = starter()
    if program is None:
        return "neither KUBECONFIG with FERRY_E2E_CONTEXT nor FERRY_CLUSTER is set"
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return f"{program} needs root on Linux"
    programs = dict(PROGRAMS)
    if shutil.which("buildah") and not base.exists():
        programs["debootstrap"] = "debootstrap"
    if packages := missing_programs(programs):
        return f"{', '.join(packages)} missing: apt install {' '.join(packages.values())}"
    memory = available_memory()
    disk = shutil.disk_usage(tempfile.gettempdir()).free
    for what, there, least in (("memory", memory, LEAST_MEMORY), ("disk", disk, LEAST_DISK)):
        if there < least:
            return f"{there >> 30} GiB of {what} are free, and {least >> 30} are needed"
    return ""


def available_memory(told: Path = Path("/proc/meminfo")) -> int:
    """Bytes that programs can still take."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", told.read_text())
    return int(found[1]) << 10 if found else 0


def packages_answer() -> bool:
    """Whether Debian's and Python's packages can be had here: where not, a build that failed says nothing of Ferry."""
    with tempfile.TemporaryDirectory(prefix="ferry-pip-") as folder:
        pip = [sys.executable, *f"-m pip download --no-deps --no-cache-dir --dest {folder} idna".split()]
        commands = (pip, ["apt-get", "update", "--error-on=any"])
        return all(subprocess.run(command, capture_output=True, check=False).returncode == 0 for command in commands)


def starter() -> Path | None:
    """The program that starts a cluster."""
    named = os.environ.get("FERRY_CLUSTER")
    places = (Path(named),) if named else PLACES
    return next((place.resolve() for place in places if os.access(place, os.X_OK)), None)


def archives(tags: Sequence[str]) -> list[Path]:
    """The images as files, made anew only where an image has changed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ferry-images"
    cache.mkdir(parents=True, exist_ok=True)
    found = []
    for tag in tags:
        image = tag.rpartition("/")[2].replace(":", "-")
        digest = call(("buildah", "inspect", "--type=image", "--format={{.FromImageID}}", tag))
        path = cache / f"{image}-{digest[:16]}.tar"
        if not path.exists():
            for old in cache.glob(f"{image}-*.tar"):
                old.unlink()
            call(("buildah", "push", "--quiet", tag, f"docker-archive:{path}:{tag}"))
        found.append(path)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(prog="python -m tests.kubernetes", description=__doc__.partition("\n")[0])
    parser.add_argument("--core", action="store_true", help="only what every check runs")
    parser.add_argument("--no-build", action="store_true", help="take the images that are there")
    parser.add_argument("--where-possible", action="store_true", help="succeed with one line where there is no cluster")
    parser.add_argument(
        "--previous",
        metavar="REVISION",
        nargs="?",
        const="",
        help="roll from this revision of the repository and back, too; by default the newest tag v*",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        help="stop after so many, not counting images; say what was left out",
    )
    options = parser.parse_args(words[:cut])
    # As after Ctrl-C, a cluster that was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Whatever an API server alone can tell is told by other checks.
    chosen = (f"{TESTS}/scenarios", "-m", "core") if options.core else (TESTS,)
    tests = [sys.executable, "-m", "pytest", *chosen, *words[cut + 1 :]]
    if os.environ.get("KUBECONFIG") and os.environ.get("FERRY_E2E_CONTEXT"):
        os.environ["FERRY_E2E_UNTIL"] = str(last_start(options.minutes))
        return subprocess.run(tests, cwd=ROOT, check=False).returncode
    if problem := lacking():
        return untried(problem, options.where_possible)
    # A core does without what only other scenarios run.
    images = [image for image in IMAGES if not (options.core and image in NOT_IN_CORE)]
    extra = [PROMETHEUS] if options.core else [PROMETHEUS, NEXT]
    tags = [*(f"{REGISTRY}/{image}:{version()}" for image in images), *(tag for _, tag in extra)]
    try:
        with no_longer_than(BUILD_MINUTES):
            if not (options.no_build or based()):
                return untried(f"no registry gives {base.BASE}, and it cannot be made here", options.where_possible)
            if not options.no_build:
                built(images, extra)
            if options.previous is not None:
                OUT.mkdir(parents=True, exist_ok=True)
                tags += prepare(options.previous or newest(), OUT / "previous.yaml")
                os.environ["FERRY_E2E_PREVIOUS"] = str(OUT / "previous.yaml")
            files = archives(tags)
    except TimeoutError:
        return untried(f"the images were not built within {BUILD_MINUTES} minutes", options.where_possible)
    except ImagesError as error:
        print(f"cluster-test: {error}", file=sys.stderr)
        if options.where_possible and not packages_answer():
            return untried("packages cannot be reached, and the images need them", possible=True)
        return 1
    return on_a_cluster(tests, files, options.minutes, possible=options.where_possible)


def last_start(minutes: float | None) -> float:
    """Seconds since 1970 after which no scenario of a run of so many minutes begins; None: never."""
    return float("inf") if minutes is None else time.time() + 60 * minutes * (1 - GRACE)


@contextmanager
def no_longer_than(minutes: int) -> Iterator[None]:
    """Ends what is under way.

    Raises:
        TimeoutError: it took longer.
    """

    def over(number: int, frame: FrameType | None) -> NoReturn:
        raise TimeoutError

    signal.signal(signal.SIGALRM, over)
    signal.alarm(60 * minutes)
    try:
        yield
    finally:
        signal.alarm(0)


def untried(problem: str, possible: bool) -> int:
    """The exit status of a run without scenarios; says why there are none."""
    print(f"cluster-test: NOT TRIED, no scenario was run: {problem}", file=sys.stderr, flush=True)
    return 0 if possible else 1


def based() -> bool:
    """Whether there is a base image, made now if need be."""
    if base.exists() or base.pull():
        return True
    print(f"== no registry gives {base.BASE}: making it from Debian's packages", flush=True)
    try:
        base.bootstrap()
    except ImagesError as error:
        print(error, file=sys.stderr)
        return False
    return True


def built(images: Sequence[str], extra: Sequence[tuple[str, str]]) -> None:
    """Builds what scenarios run, and nothing else.

    Raises:
        ImagesError: it cannot be built.
    """
    unused = {f"{image}-venv" for image in CPU.images if image not in images}
    needed = dataclasses.replace(
        CPU,
        images=tuple(image for image in CPU.images if image in images),
        venvs=tuple(venv for venv in CPU.venvs if venv not in unused),
    )
    make(needed, (), lend_pip=True)
    for path, tag in extra:
        build(["buildah", "build", "--isolation=chroot", "--layers", f"--file={path}", f"--tag={tag}", "."])


def on_a_cluster(tests: Sequence[str], files: Sequence[Path], minutes: float | None, *, possible: bool) -> int:
    """Starts a cluster with these images, runs the tests on it, and returns their exit status.

    Args:
        tests: the command.
        files: archives of images.
        minutes: in which the cluster starts and the scenarios run; None: as many as they take.
        possible: whether a cluster that does not start here is no failure.
    """
    run = [str(starter()), "run", "--nodes=2", "--policies", "--metrics", *(f"--image={file}" for file in files), "--"]
    with tempfile.TemporaryDirectory(prefix="ferry-cluster-test-") as folder:
        began = Path(folder) / "began"
        OUTCOMES.unlink(missing_ok=True)
        # The cluster is nobody else's, whatever its context is called, and ends with the run, so nothing is cleared
        # away. Where its programs are, tests of an API server alone find them, too.
        script = (
            f'touch {began}; export FERRY_E2E_CONTEXT="$(kubectl config current-context)"; '
            'export KUBEBUILDER_ASSETS="${KUBEBUILDER_ASSETS:-$(dirname "$(command -v kube-apiserver)")}"; exec "$@"'
        )
        process = subprocess.Popen(
            [*run, "sh", "-c", script, "sh", *tests],
            cwd=ROOT,
            env=os.environ | CUT | {"FERRY_E2E_LEAVE": "1", "FERRY_E2E_UNTIL": str(last_start(minutes))},
        )
        try:
            status = process.wait(None if minutes is None else 60 * minutes)
        except subprocess.TimeoutExpired:
            ended(process)
            return stopped(possible)
        except BaseException:
            ended(process)
            raise
        if status and not began.exists():
            return untried(f"{starter()} could not start a cluster here", possible)
        return status


def stopped(possible: bool) -> int:
    """The exit status of a run that was ended before its time: what had failed by then has failed."""
    outcomes = json.loads(OUTCOMES.read_text()) if OUTCOMES.exists() else []
    if not outcomes:
        return untried("no cluster was ready in time", possible)
    for outcome in outcomes:
        print(f"cluster-test: {outcome['scenario']}: {outcome['verdict'] or 'NOT ENDED'}", file=sys.stderr)
    print("cluster-test: the run was STOPPED, for lack of time", file=sys.stderr)
    failed = any(outcome["verdict"] and not outcome["verdict"].startswith((OK, SKIPPED)) for outcome in outcomes)
    return 0 if possible and not failed else 1


def ended(process: subprocess.Popen[bytes]) -> None:
    """Ends the program that runs a cluster, and with it the cluster."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
