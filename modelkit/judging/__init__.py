"""How good a model is: figures, comparisons and checks, through the code that serves it."""
