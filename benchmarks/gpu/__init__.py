"""What a GPU brings: speed and agreement with the CPU, of each model and each way to run it, in one run."""
