"""Images that cannot be pulled: no such name or tag, no such registry, no permission.

The kubelet's message decides which. A message counts only for the image that the pod asks for now.
"""

ORDER = ("image_not_found", "image_registry_unknown", "image_registry_unreachable", "image_pull_forbidden")
