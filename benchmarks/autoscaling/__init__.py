"""The Horizontal Pod Autoscaler's algorithm against a queueing model of Ferry's services with their measured costs."""
