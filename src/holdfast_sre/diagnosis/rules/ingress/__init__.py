"""Ways in from outside that lead to nothing: ingresses, HTTP routes and virtual services compared with the services."""

ORDER = ("ingress_backend", "ingress_port", "ingress_certificate", "ingress_class")
