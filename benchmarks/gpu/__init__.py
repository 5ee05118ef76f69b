"""What a GPU brings: speed and agreement of each model and each way to run it, and the speed of the cluster."""
