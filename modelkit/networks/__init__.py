"""The classifiers' networks: built by name, started from other weights, read back from what was published."""
