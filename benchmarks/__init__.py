"""Speed and memory of Ferry, as ratios taken in one run. `ferry bench --help` lists them."""
