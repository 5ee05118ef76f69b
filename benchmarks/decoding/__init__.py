"""What decoding a picture costs in memory, by format, mode and orientation."""
