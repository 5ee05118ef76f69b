"""The whole pipeline as one model of the Open Inference Protocol."""
