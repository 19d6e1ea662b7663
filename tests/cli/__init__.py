"""The command line on SQLite files with real runs: called in this process, and as a program of its own."""
