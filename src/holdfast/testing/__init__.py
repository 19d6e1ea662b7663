"""What our tests and our users' tests need. It may import everything; nothing imports it."""
