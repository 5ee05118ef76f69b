"""The Redis behind the gateway: one client and one breaker for all that keep something there."""
