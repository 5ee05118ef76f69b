"""What the HTTP door answers, a file for each kind of request."""
