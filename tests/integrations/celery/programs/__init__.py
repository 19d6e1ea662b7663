"""The program that the tests' workers import."""
