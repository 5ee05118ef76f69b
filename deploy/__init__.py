"""Ferry's deployment: images, manifests, rules and dashboards. Code here only makes files."""
