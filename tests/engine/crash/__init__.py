"""The engine under crashes: real processes, killed and stopped, and what their journals say afterwards."""
