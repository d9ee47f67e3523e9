"""What the CT commands do at the terminal: progress while they work, a short table at the end."""
