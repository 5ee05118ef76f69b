"""The Open Inference Protocol (KServe v2): a second contract over the same models."""
