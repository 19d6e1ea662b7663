"""The command line: what runs do, why, and who decided it; and deciding from a terminal.

A command begins in `command`, which gives it the common options and turns errors into exit codes; it opens what it
needs by `session`, and answers through `output`. `rules`, `health` and `timetable` judge: exit codes, what is due, what
needs somebody. Above them stand `documents`, the shapes of answers; `procedures` and `drawing`, which make and draw
them; and `commands`.
"""
