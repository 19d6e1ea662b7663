"""A gateway that sends a path to the wrong service, or nowhere.

Read from route tables in config maps (lists of routes with id, uri and predicates, at any depth); which service a route
is meant for is told by its id, by the requests that fail on its path, and by the table as a whole.
"""
