"""What is kept of answers so that variants can be judged: exposures, labels, pairs of a shadow. Off by default.

Never an image, a box, or a caller's key: expressions, probabilities, times, and a salted hash of who asked.
`ferry ab report` computes the verdicts from it.
"""
