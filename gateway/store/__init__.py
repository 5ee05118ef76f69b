"""What the gateway keeps outside its own memory."""
