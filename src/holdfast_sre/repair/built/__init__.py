"""Trees that a program builds, Kustomize overlays and releases of Helm charts: which there are, the programs, and the
one place of the sources that brings a change and nothing else.
"""
