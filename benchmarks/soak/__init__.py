"""Hours of mixed load: whether memory or latency grows. `ferry bench soak`."""
