"""``predict`` on CT: the loop over volumes, what it writes of each."""
