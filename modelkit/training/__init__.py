"""Training of the expression classifiers: data, recipes, views, targets and the loop."""
