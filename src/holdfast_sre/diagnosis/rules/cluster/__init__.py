"""Names that nobody in the namespace can look up: the cluster's own name service is at fault."""
