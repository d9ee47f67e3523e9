"""Is it installed well, what does it cost here, what does it do: check, bench, demo."""
