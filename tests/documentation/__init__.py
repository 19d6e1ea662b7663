"""What the test of the documents reads and runs pages with. Checks return the faults found, one line each."""
