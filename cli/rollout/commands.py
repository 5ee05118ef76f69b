"""The commands of `ferry rollout`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cli.output import answers, errors
from cli.rollout.errors import NoClusterError, RolloutError
from cli.rollout.judge.command import judge
from cli.rollout.judge.place import ANNOTATION, LocalPlace, PlaceError
from cli.rollout.judge.state import Phase, State, StateError
from cli.rollout.judge.state import load as load_state
from cli.rollout.kubectl import Kubectl
from cli.rollout.standstill import standstills
from cli.rollout.tracks import (
    SUFFIX,
    describe,
    not_ready,
    promoted,
    promoted_recipe,
    promotion,
    read_deployments,
    read_tracks,
)
from cli.rollout.weights import CONFIG_MAP, read_table, with_share, write_table
from cli.rollout.workloads import read_workloads
from gateway.routing.table import STABLE, RoutingTable

CANARY = "canary"
_WAIT = "10m"
_TRIES = 5
_EVENTS = 6
"""Of a judge, that are shown."""
_FOLLOW = "gateways follow within about a minute, without a restart"

Namespace = Annotated[str, typer.Option("--namespace", "-n", envvar="FERRY_NAMESPACE", help="Ferry's namespace.")]
Context = Annotated[str | None, typer.Option(help="Of the kubeconfig; by default the current one.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done and change nothing.")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Roll a canary out and back (docs/rollouts.md).",
)


@app.callback()
def rollout() -> None:
    """Roll a canary out and back, with the kubectl on your PATH (docs/rollouts.md)."""


@app.command()
def canary(
    weight: Annotated[float, typer.Option(min=0, max=1, help="Share of the callers, 0 to 1.")],
    namespace: Namespace = "ferry",
    context: Context = None,
    dry_run: DryRun = False,
) -> None:
    """Give the canary a share of the callers; growing it only moves callers from stable to the canary."""
    with _explained():
        kubectl = _kubectl(namespace, context, dry_run)
        if weight > 0:
            for track in read_tracks(kubectl):
                reason = not_ready(track.canary)
                if reason:
                    _say(f"warning: {track.name}{SUFFIX} {reason}; stable answers in its place")
        _share(kubectl, weight)


@app.command()
def promote(namespace: Namespace = "ferry", context: Context = None, dry_run: DryRun = False) -> None:
    """Make stable what the canary is, then give stable the canary's callers.

    Images, model versions, variables and the recipe go over, the models first; each Deployment rolls as ever, without
    a failed request.
    """
    with _explained():
        kubectl = _kubectl(namespace, context, dry_run)
        read_table(kubectl)
        tracks = read_tracks(kubectl)
        for track in tracks:
            reason = not_ready(track.canary)
            if reason:
                raise RolloutError(f"{track.name}{SUFFIX} {reason}; promote what has answered")
        for track in tracks:
            recipe, new = promoted_recipe(kubectl, track, [other.name for other in tracks])
            patch = promotion(track, recipe)
            if patch is None:
                _say(f"{track.name}: has it already ({describe(track.stable)})")
                continue
            _say(f"{track.name}: {describe(track.stable)} becomes {describe(track.canary)}")
            if new is not None:
                kubectl.change("apply", "--filename", "-", document=new)
            kubectl.patch("deployment", track.name, patch)
            _wait(kubectl, track.name)
        _share(kubectl, 0.0)
        _say("promoted; make the repository say the same, or the next apply brings the former version back")


@app.command()
def rollback(namespace: Namespace = "ferry", context: Context = None, dry_run: DryRun = False) -> None:
    """Take all callers from the canary; where it was promoted, bring back what stable was before."""
    with _explained():
        kubectl = _kubectl(namespace, context, dry_run)
        if CANARY in read_table(kubectl)[0].shares:
            _share(kubectl, 0.0)
        # The other way round than a promotion: who asks before who is asked.
        found = [name for name, deployment in read_deployments(kubectl).items() if promoted(deployment)]
        back = sorted(found, key=lambda name: name != "ensembler")
        for name in back:
            _say(f"{name}: back to the revision before the promotion")
            kubectl.change("rollout", "undo", f"deployment/{name}")
        for name in back:
            _wait(kubectl, name)


app.command()(judge)


@app.command()
def status(
    namespace: Namespace = "ferry",
    context: Context = None,
    routing_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of gateways on this machine, in place of a cluster.")
    ] = None,
) -> None:
    """Show what does not roll out, why, and how to go back; shares, what the judge says, and what each track runs."""
    if routing_file is not None:
        try:
            found = LocalPlace(routing_file).read()
        except PlaceError as error:
            errors.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(1) from error
        _show_shares(found.table, found.state)
        return
    with _explained("for gateways on this machine give --routing-file FILE"):
        kubectl = _kubectl(namespace, context, dry_run=False)
        workloads = read_workloads(kubectl)
        if not workloads:
            raise RolloutError(f"nothing of Ferry's runs in namespace {namespace}; name another with --namespace")
        stuck = standstills(kubectl, namespace, workloads)
        for one in stuck:
            _say(f"{one.workload} is not rolled out" + ("" if one.reasons else "; its pods are starting"))
            for reason in one.reasons:
                _say(f"  {reason}")
            if one.reasons:
                _say(f"  back: {one.back}")
        if not stuck:
            _say(f"rolled out: {', '.join(sorted(item['metadata']['name'] for item in workloads))}")
        if not any(item["metadata"]["name"].endswith(SUFFIX) for item in workloads):
            _say("there is no canary")
            return
        table, _ = read_table(kubectl)
        _show_shares(table, _state(kubectl))
        shown = Table("service", STABLE, CANARY)
        for track in read_tracks(kubectl):
            cells = (f"{describe(one)} {not_ready(one)}".strip() for one in (track.stable, track.canary))
            shown.add_row(track.name, *cells)
        answers.print(shown)


def _show_shares(table: RoutingTable, state: State) -> None:
    for name, share in table.shares.items():
        answers.print(f"{name}: {share:.1%} of the callers", highlight=False)
    if state.phase is not Phase.IDLE or state.reason:
        _say(f"judge: {state.phase.value}: {state.reason}")
        for time, words in state.events[-_EVENTS:]:
            _say(f"  {datetime.fromtimestamp(time).astimezone():%Y-%m-%d %H:%M:%S}  {words}")


def _share(kubectl: Kubectl, share: float) -> None:
    seen: RoutingTable | None = None
    for attempt in range(_TRIES):
        table, version = read_table(kubectl)
        if seen not in {None, table} and not _by_judge(kubectl, table):
            raise RolloutError("somebody else has changed the weights meanwhile; look at them and say it again")
        seen = table
        new = with_share(table, CANARY, share)
        if new.shares == table.shares:
            _say(f"{CANARY} has {share:.1%} of the callers already")
            return
        _say("; ".join(f"{name}: {table.shares[name]:.1%} -> {part:.1%}" for name, part in new.shares.items()))
        try:
            write_table(kubectl, new, version)
        except RolloutError as error:
            # A judge writes now and then; what a person asks for counts all the same, but not over another person.
            if attempt + 1 == _TRIES or "modified" not in str(error):
                raise
            continue
        if not kubectl.dry_run:
            _say(_FOLLOW)
        return


def _by_judge(kubectl: Kubectl, table: RoutingTable) -> bool:
    """Whether the canary's present share is one that a judge has set."""
    state = _state(kubectl)
    return state.phase is not Phase.STOOD_BACK and abs(state.share - table.shares.get(CANARY, 0.0)) < 1e-4


def _state(kubectl: Kubectl) -> State:
    annotations = kubectl.get("configmap", CONFIG_MAP)["metadata"].get("annotations") or {}
    try:
        return load_state(annotations.get(ANNOTATION, ""))
    except StateError as error:
        raise RolloutError(
            f"the annotation {ANNOTATION} of ConfigMap {CONFIG_MAP} is no state of a judge: {error}"
        ) from error


def _wait(kubectl: Kubectl, name: str) -> None:
    try:
        kubectl.change("rollout", "status", f"deployment/{name}", "--timeout", _WAIT)
    except RolloutError as error:
        raise RolloutError(f"{error}\n{name} does not get ready; `ferry rollout rollback` undoes it") from error


def _kubectl(namespace: str, context: str | None, dry_run: bool) -> Kubectl:
    return Kubectl(namespace, context, dry_run=dry_run, say=_say)


def _say(line: str) -> None:
    answers.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _explained(on_this_machine: str = "gateways on this machine follow their routing file") -> Iterator[None]:
    """
    Args:
        on_this_machine: what to do where there is no cluster of Kubernetes.
    """
    try:
        yield
    except RolloutError as error:
        hint = f"; {on_this_machine}" if isinstance(error, NoClusterError) else ""
        errors.print(f"error: {error}{hint}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
