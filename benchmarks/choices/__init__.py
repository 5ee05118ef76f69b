"""What each way of judging a face costs: one classifier, the vote, several views. `ferry bench choices`."""
