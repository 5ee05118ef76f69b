"""Which variant of the pipeline answers whom: the routing table, sticky assignment, shadow traffic."""
