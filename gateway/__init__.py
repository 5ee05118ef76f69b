"""The edge of Ferry: admits images, answers from the result cache, asks the pipeline for the rest."""
