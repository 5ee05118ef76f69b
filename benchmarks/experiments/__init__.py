"""Whether the verdicts of `ferry ab` are right as often as they say, by simulated experiments."""
