"""How Ferry grows with faces, size, callers and replicas. `ferry bench scaling`."""
