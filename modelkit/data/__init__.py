"""What models learn from and are judged by: pictures, photos, votes, and which of them may be used."""
