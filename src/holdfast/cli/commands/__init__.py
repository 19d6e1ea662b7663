"""The commands: each module adds its own to the program, asks, and hands a document to the output."""
