"""What the detector's service spends on an image, step by step, against a bare run of its model."""
