"""What each command does at the terminal: progress while it works, a short table at the end."""
