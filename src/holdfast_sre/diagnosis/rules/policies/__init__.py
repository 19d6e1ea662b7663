"""Traffic that a policy forbids: network policies, and the authorization policies of a mesh."""

ORDER = ("network_policy", "mesh_policy")
