-- Begins a snapshot: ARGV: its name, the time it was begun. Answers the incarnation and each stream's last number.
redis.call('ZADD', p .. 'snapshots', ARGV[2], ARGV[1])
return { incarnation(), redis.call('HGETALL', p .. 'numbers') }
