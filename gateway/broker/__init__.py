"""Redis: the scripts, the connections, what is asked of it and when."""
