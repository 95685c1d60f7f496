"""Sockets: connections, listeners, and connections handed from one process to another."""
