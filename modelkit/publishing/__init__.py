"""From a trained network to a version in the repository: file, manifest, record, card, promotion."""
