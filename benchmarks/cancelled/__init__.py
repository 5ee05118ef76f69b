"""What a call that its caller gives up leaves in memory."""
