"""Training of the expression classifiers: recipes, views, targets and the loop."""
