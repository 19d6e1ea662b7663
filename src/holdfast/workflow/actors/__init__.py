"""Who works on the runs that a process owns: one actor each, its handlers, their steps and memos."""
