"""Small programs that the tests start, kill and start again; each runs one workflow in `world`."""
