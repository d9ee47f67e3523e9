"""What the classifier looks at, and which labels should be read again."""
