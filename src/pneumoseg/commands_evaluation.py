"""What the evaluation commands do at the terminal."""
