"""What may be asked, which changes of a batch win, which records a query means: pure, and the same for every back end.

Whoever adds a back end reads these and carries them out; they never speak to one.
"""
