"""`python -m cli.rollout.judge`: the judge alone, as its image runs it."""

import typer

from cli.rollout.judge.command import judge

if __name__ == "__main__":
    typer.run(judge)
