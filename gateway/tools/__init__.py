"""Programs around the gateway: the local cluster, the client, the bench, the status."""
