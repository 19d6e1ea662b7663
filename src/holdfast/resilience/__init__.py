"""What keeps a dependency that is ill from making everything else ill.

A `graph` says who needs whom. Each dependency has a breaker (`breaker/`), and `rules` says from their states who is ill
and who only suffers from it, which openings are one incident, and when it is likelier this process that is ill.
`healing` says who may be probed next.
"""
