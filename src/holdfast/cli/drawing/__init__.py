"""Documents drawn for people: tables and pages of one screen, and the picture of dependencies. Pure."""
