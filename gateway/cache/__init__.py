"""The result cache: what is kept of an answer, where, and for how long.

Never an image: an entry is a digest (of image, options and pipeline together) and the answer, with a time to
live. Only whole answers are kept, neither errors nor degraded ones.
"""
