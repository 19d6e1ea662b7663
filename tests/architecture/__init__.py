"""What the architecture test checks with. Each check takes modules (read from files, or planted as text by the tests of
the checks themselves) and returns the violations it found, one line of text each.
"""
