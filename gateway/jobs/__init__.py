"""Images that are recognised later: a queue in a Redis of its own, and the worker that empties it."""
