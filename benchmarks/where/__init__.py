"""Where the time and the CPU of one request go. `ferry bench where`."""
