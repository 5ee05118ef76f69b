"""The command `ferry doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Annotated

import typer

from cli.doctor import running, standing
from cli.doctor.finding import Finding, Verdict
from cli.doctor.seen import Seen, look
from cli.output import JsonOption, answers, errors, print_json
from cli.rollout.errors import NoClusterError, RolloutError
from cli.rollout.kubectl import Kubectl

CHECKS: tuple[Callable[[Seen], Iterable[Finding]], ...] = (
    running.kubernetes,
    running.replicas,
    running.restarts,
    running.images,
    standing.autoscalers,
    standing.drains,
    standing.policies,
    running.ability,
    running.models,
    standing.certificates,
    standing.redis,
    standing.clocks,
)
_MARKS = {Verdict.GOOD: "ok  ", Verdict.ADVICE: "note", Verdict.WRONG: "BAD "}


def doctor(
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", envvar="FERRY_NAMESPACE", help="Ferry's namespace.")
    ] = "ferry",
    context: Annotated[str | None, typer.Option(help="Of the kubeconfig; by default the current one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Look at Ferry in a Kubernetes namespace from outside in; each line is good or says what to do.

    Changes nothing. Uses the kubectl on your PATH, and runs a few lines of Python in each pod (the right pods/exec).
    Exits with 1 where something is wrong, with 2 where the cluster cannot be looked at.
    """
    try:
        findings = examine(look(Kubectl(namespace, context, dry_run=True, say=lambda _: None), namespace))
    except RolloutError as error:
        hint = "; of a cluster on this machine `ferry status` tells" if isinstance(error, NoClusterError) else ""
        errors.print(f"error: {error}{hint}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _show(findings)
    if any(finding.verdict is Verdict.WRONG for finding in findings):
        raise typer.Exit(1)


def examine(seen: Seen) -> list[Finding]:
    """Every check, in the order in which they are read; where nothing of Ferry's runs, no more than that."""
    checks = CHECKS if seen.own else (running.kubernetes, running.replicas)
    return [finding for check in checks for finding in check(seen)]


def _show(findings: list[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        line = f"{_MARKS[finding.verdict]}  {finding.check:<{width}}  {finding.said}"
        answers.print(line, markup=False, highlight=False, soft_wrap=True)
        if finding.remedy:
            answers.print(f"{'':<{width + 6}}  -> {finding.remedy}", markup=False, highlight=False, soft_wrap=True)
