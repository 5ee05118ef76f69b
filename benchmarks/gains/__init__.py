"""What each technique brings on this machine: `ferry bench gains`."""
