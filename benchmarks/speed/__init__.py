"""Speed and memory of Ferry, as ratios taken in one run."""
