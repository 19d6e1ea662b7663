"""The command line: watching a run, a worker of its own, workspaces, the demo's incident, and people's verdicts."""
