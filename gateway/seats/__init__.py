"""People at one gateway: their seats, and what their sessions need of the cluster."""
