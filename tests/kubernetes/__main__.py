"""`python -m tests.kubernetes` (`make cluster-test`): scenarios on a disposable cluster.

The cluster is that of KUBECONFIG, whose context FERRY_E2E_CONTEXT names; or one that FERRY_CLUSTER starts, a program
that is called as `PROGRAM run --nodes 2 --policies --metrics --image FILE ... -- COMMAND ...` and runs COMMAND with the
KUBECONFIG of a fresh cluster; it is looked for in ../shared/tools/cluster, too. What follows `--` goes to pytest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.images import base
from deploy.images.build import REGISTRY, ROOT, build, version
from deploy.images.check import CPU, make
from deploy.images.tool import ImagesError, call
from deploy.images.tool import missing as missing_programs
from tests.kubernetes.previous import prepare

TESTS = "tests/kubernetes"
OUT = ROOT / "out" / "cluster-test"
IMAGES = ("gateway", "ensembler", "redis", "models", "detector", "classifier")
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
    return ""


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
        "--previous", metavar="REVISION", help="roll from this revision of the repository and back, too"
    )
    parser.add_argument("--minutes", type=float, help="begin no scenario later than this after the start; say which")
    options = parser.parse_args(words[:cut])
    # Whatever an API server alone can tell is told by other checks.
    chosen = (f"{TESTS}/scenarios", "-m", "core") if options.core else (TESTS,)
    tests = [sys.executable, "-m", "pytest", *chosen, *words[cut + 1 :]]
    if options.minutes is not None:
        os.environ["FERRY_E2E_UNTIL"] = str(time.time() + 60 * options.minutes)
    if os.environ.get("KUBECONFIG") and os.environ.get("FERRY_E2E_CONTEXT"):
        return subprocess.run(tests, cwd=ROOT, check=False).returncode
    if problem := lacking():
        print(f"cluster-test: no scenario was run: {problem}", file=sys.stderr)
        return 0 if options.where_possible else 1
    # A core does without what only other scenarios run.
    images = [image for image in IMAGES if not (options.core and image == "models")]
    extra = [PROMETHEUS] if options.core else [PROMETHEUS, NEXT]
    try:
        if not options.no_build:
            make(CPU, (), lend_pip=True)
            for path, tag in extra:
                build(["buildah", "build", "--isolation=chroot", "--layers", f"--file={path}", f"--tag={tag}", "."])
        tags = [*(f"{REGISTRY}/{image}:{version()}" for image in images), *(tag for _, tag in extra)]
        if options.previous:
            OUT.mkdir(parents=True, exist_ok=True)
            tags += prepare(options.previous, images, OUT / "previous.yaml")
            os.environ["FERRY_E2E_PREVIOUS"] = str(OUT / "previous.yaml")
        files = archives(tags)
    except ImagesError as error:
        print(f"cluster-test: {error}", file=sys.stderr)
        return 1
    run = [str(starter()), "run", "--nodes=2", "--policies", "--metrics", *(f"--image={file}" for file in files), "--"]
    # The cluster is nobody else's, whatever its context is called, and ends with the run, so nothing is cleared away.
    # Where its programs are, tests of an API server alone find them, too.
    script = (
        'export FERRY_E2E_CONTEXT="$(kubectl config current-context)"; '
        'export KUBEBUILDER_ASSETS="${KUBEBUILDER_ASSETS:-$(dirname "$(command -v kube-apiserver)")}"; exec "$@"'
    )
    return subprocess.run(
        [*run, "sh", "-c", script, "sh", *tests], cwd=ROOT, env=os.environ | CUT | {"FERRY_E2E_LEAVE": "1"}, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
