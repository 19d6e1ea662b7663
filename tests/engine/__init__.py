"""The workflow engine from outside: what it promises, whatever happens to it."""
