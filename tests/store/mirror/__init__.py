"""The mirror, against a real PostgreSQL and a real Valkey, and against a truth in memory that can be looked into."""
