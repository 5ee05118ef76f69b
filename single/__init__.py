"""The whole cluster in one process: gateway, ensembler and models call each other without a socket."""
