"""What stands between a client and PostgreSQL: a proxy that cuts connections on the word, and a small pooler."""
