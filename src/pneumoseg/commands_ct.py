"""What the CT commands do at the terminal."""
