"""Does it work here, what does it cost here, what does it do: check, bench, demo."""
