"""The ports' local versions, which do real work on one machine: git, ticket files, reviews, a GitOps folder and a
recorded cluster that answers to it.
"""
