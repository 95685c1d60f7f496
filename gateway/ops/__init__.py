"""What operators look at: logging.  Knows nothing of chat, sockets or Redis."""
