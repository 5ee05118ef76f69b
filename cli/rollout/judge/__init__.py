"""`ferry rollout judge`: steps a canary up while nothing speaks against it, and takes it back when something does.

`decide` is the whole of its judgement, without a clock, a network or a file; the others bring it what it asks for.
"""
