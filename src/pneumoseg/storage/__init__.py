"""What lies on disk: a file or a folder whole or not at all, a lock, strict TOML."""
