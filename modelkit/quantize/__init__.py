"""Published models in eight bits: calibrated on faces, judged through the serving code, published only if good."""
