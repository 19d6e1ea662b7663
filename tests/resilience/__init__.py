"""The resilience room, on clocks that tests move."""
