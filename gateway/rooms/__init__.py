"""A room as one gateway serves it: its order, who is in it, and what its members are sent."""
