"""Containers that end at once for what they are told to run: no such program, a wrong argument, a variable missing."""

ORDER = ("container_program", "container_argument", "container_variable", "container_platform")
