-- The next places that a snapshot sees, those included that have gone since: ARGV: its name, the place to start behind, count.
-- Answers the places of now and those kept aside, at most `count` of each. Asking is the sign of life of a reader.
if not redis.call('ZSCORE', p .. 'snapshots', ARGV[1]) then
    return redis.error_reply('EXPIRED it rested too long')
end
redis.call('ZADD', p .. 'snapshots', now(), ARGV[1])
local low = ARGV[2] == '' and '-' or '(' .. ARGV[2]
return {
    redis.call('ZRANGEBYLEX', p .. 'places', low, '+', 'LIMIT', 0, ARGV[3]),
    redis.call('ZRANGEBYLEX', p .. 'snapshot-places:' .. ARGV[1], low, '+', 'LIMIT', 0, ARGV[3])
}
