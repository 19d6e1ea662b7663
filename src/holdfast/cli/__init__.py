"""The command line: what runs do, why, and who decided it; and deciding from a terminal.

`rules` judges: exit codes, what is due, what needs somebody, which command sends which signal. `session` opens the
store as a client that works on no run. `documents` are the shapes that `--json` prints; `tables` draws the same ones
for people. The commands stand in `reading`, `deciding`, `keeping`, `backups`, `moving`, `schedules`,
`breakers` and `charts`; `command` gives them their common options and turns errors into exit codes. `schedule` takes
backups again and again, `timetable` says when they are due, `drill` tries one out.
"""
