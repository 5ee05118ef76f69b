"""`python -m deploy.images.check` (`make images-check`): builds the images, looks into them, runs Ferry from them.

Needs root on Debian or Ubuntu, and no registry, container daemon or cluster.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from deploy.images import base, gpu, host_pip
from deploy.images.build import CPU, GPU, REGISTRY, ROOT, Dockerfile, build, steps, version
from deploy.images.cluster import keys, look, memory_rows, wait
from deploy.images.contents import contents
from deploy.images.manifests import Json, pods, render
from deploy.images.patience import patient
from deploy.images.photos import recognise
from deploy.images.pins import unpinned
from deploy.images.podman import Podman
from deploy.images.sbom import write
from deploy.images.sizes import size_rows, table, too_large
from deploy.images.tool import ImagesError, call, missing
from deploy.images.unwanted import unwanted

_PROGRAMS = {name: name for name in ("buildah", "podman", "runc", "catatonit", "iptables", "tar")}
_DNS = (Path("/usr/lib/podman/aardvark-dns"), Path("/usr/libexec/podman/aardvark-dns"))


def needs(*, bootstrap: bool) -> None:
    """
    Args:
        bootstrap: whether the base image may have to be made.

    Raises:
        ImagesError: something is not there; says how to get it.
    """
    if os.geteuid() != 0:
        raise ImagesError("needs root, to build without a daemon and to limit memory: run it with sudo")
    packages = missing({**_PROGRAMS, **({"debootstrap": "debootstrap"} if bootstrap else {})})
    if not any(path.exists() for path in _DNS):
        packages["aardvark-dns"] = "netavark aardvark-dns"
    if packages:
        raise ImagesError(f"needs {', '.join(packages)}: apt install {' '.join(packages.values())}")
    if shutil.which("kubectl") is None and shutil.which("kustomize") is None:
        raise ImagesError("needs kustomize 5, or kubectl 1.27 or newer, on the PATH")


def make(dockerfile: Dockerfile, arguments: Sequence[str], *, lend_pip: bool) -> None:
    """Builds the base where it is missing, then the images."""
    if not base.exists() and not base.pull():
        _say(f"no registry gives {base.BASE}: making it from Debian's packages")
        base.bootstrap()
    with ExitStack() as stack:
        lent = stack.enter_context(host_pip.volumes()) if lend_pip else ()
        for command in steps(dockerfile, version(), lent, arguments):
            _say(" ".join(word for word in command if "volume" not in word))
            build(command)


def inspect(dockerfile: Dockerfile, out: Path) -> None:
    """Sizes, bills of materials, and what must not be in an image.

    Raises:
        ImagesError: an image is too large, would run as root, or holds what it must not.
    """
    sizes: dict[str, int] = {}
    problems: list[str] = []
    pins = "\n".join((ROOT / path).read_text() for path in dockerfile.constraints)
    for image in dockerfile.images:
        name = f"{REGISTRY}/{image}:{version()}"
        asked = "{{.Size}} {{len .Config.Entrypoint}} {{.Config.User}}"
        size, runs, user = call(("podman", "image", "inspect", f"--format={asked}", name)).split(" ")
        sizes[image] = int(size)
        if int(runs) and user.partition(":")[0] in {"", "0", "root"}:
            problems.append(f"{image} would run as root")
        found = contents("podman", name)
        problems += [f"{image} holds {path}" for path in unwanted(found.paths)]
        problems += [f"{image} holds {package}, which no constraints file names" for package in unpinned(found, pins)]
        write(name, found, out)
    print(table(("image", "size", "limit", ""), size_rows(sizes)))
    problems += [f"{image} is too large" for image in too_large(sizes)]
    if problems:
        raise ImagesError("\n".join(problems))
    print(f"no image holds torch, a compiler or pip; every Python package is pinned; bills of materials are in {out}")


@contextmanager
def up(objects: Sequence[Json]) -> Iterator[Podman]:
    """The pods of these objects, running; they are taken down whatever happens.

    Raises:
        ImagesError: podman refused, or something is left behind.
    """
    with tempfile.TemporaryDirectory(prefix="ferry-check-") as folder:
        podman = Podman(pods(objects), Path(folder))
        try:
            podman.up()
            yield podman
        except BaseException:
            # What went wrong matters more than what it left.
            with suppress(ImagesError):
                podman.down()
            raise
        podman.down()


def healthy(podman: Podman, deadline: float) -> None:
    """Waits for every pod, and asks the kernel whether it is confined.

    Raises:
        ImagesError: one does not come up, or is not confined as the manifests say.
    """
    print(f"{len(podman.pods)} pods are healthy after {wait(podman, deadline):.0f} s")
    look(podman)
    print("each is confined as its manifest says: user, root, capabilities, system calls, memory, CPUs")


def run(objects: Sequence[Json], deadline: float) -> None:
    """Starts Ferry from the images, and recognises the samples.

    Raises:
        ImagesError: it does not come up, is not confined as the manifests say, or answers wrongly.
    """
    with up(objects) as podman:
        healthy(podman, deadline)
        gateway = next(pod for pod in podman.pods if pod.name == "gateway")
        rows = list(recognise(podman.address(gateway), ROOT / "samples"))
        print(table(("photo", "faces", "expression", "probability", "time"), rows))
        redis = next(pod for pod in podman.pods if pod.name == "redis")
        if keys(podman.address(redis)) < len(rows):
            raise ImagesError("the gateway keeps no answers in Redis")
        _memory(podman)


def run_without_gpu(objects: Sequence[Json], deadline: float) -> None:
    """Starts what asks for a GPU where there is none: as it is, then free to take the CPU.

    Raises:
        ImagesError: a library is missing, or a service does not say what it lacks, or does not serve from the CPU.
    """
    asking = gpu.asking(objects)
    with up(asking) as podman:
        for image in GPU.images:
            able = gpu.linked(podman, f"{REGISTRY}/{image}:{version()}")
            print(f"{image} has all libraries for {able}, but the driver's")
        gpu.refused(podman, deadline)
        print(f"{len(podman.pods)} pods have no GPU, say so and end")
    with up(gpu.free_to_choose(asking)) as podman:
        print("with FERRY_DEVICE and FERRY_BACKEND `auto` they take the CPU")
        healthy(podman, deadline)
        _memory(podman)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.images.check", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--lend-pip", action="store_true", help="build with this machine's pip configuration (index, certificates)"
    )
    parser.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="an ARG of the Dockerfile; repeatable"
    )
    parser.add_argument("--no-build", action="store_true", help="take the images that are there")
    parser.add_argument("--deadline", type=float, default=600.0, help="seconds for all pods to be healthy")
    parser.add_argument("--overlay", type=Path, help="what is run: local by default, gpu with --gpu")
    parser.add_argument("--gpu", action="store_true", help="the GPU images, on a machine without a GPU")
    parser.add_argument("--out", type=Path, default=Path("out/sbom"), help="folder for bills of materials")
    options = parser.parse_args(arguments)
    dockerfile = GPU if options.gpu else CPU
    overlay = options.overlay or ROOT / "deploy/k8s/overlays" / ("gpu" if options.gpu else "local")
    # Like Ctrl-C, so that whatever runs is taken down.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        needs(bootstrap=not options.no_build)
        if not options.no_build:
            make(dockerfile, options.build_arg, lend_pip=options.lend_pip)
        _say("what is in the images")
        inspect(dockerfile, options.out)
        _say(f"Ferry from the images, as {overlay.name} says")
        (run_without_gpu if options.gpu else run)(patient(render(overlay)), options.deadline)
    except ImagesError as error:
        print(f"images-check failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("images-check: stopped", file=sys.stderr)
        return 130
    print("images-check: ok")
    return 0


def _memory(podman: Podman) -> None:
    header = ("pod", "memory at its peak", "now", "limit", "peak of limit", "at limit", "CPUs")
    print(table(header, memory_rows(podman, look(podman))))


def _say(line: str) -> None:
    print(f"== {line}", flush=True)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
