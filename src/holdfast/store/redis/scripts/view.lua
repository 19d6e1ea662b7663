-- Begins a snapshot: ARGV: its name, how many microseconds one lasts whose reader gives no sign of life.
-- Answers the incarnation and each stream's last number.
if is_closed() then
    return redis.error_reply('CLOSED ' .. is_closed())
end
local long_ago = string.format('%.0f', tonumber(now()) - tonumber(ARGV[2]))
for _, name in ipairs(redis.call('ZRANGEBYSCORE', p .. 'snapshots', '-inf', long_ago)) do
    redis.call('ZREM', p .. 'snapshots', name)
    redis.call('UNLINK', p .. 'snapshot:' .. name, p .. 'snapshot-places:' .. name)
end
redis.call('ZADD', p .. 'snapshots', now(), ARGV[1])
return { incarnation(), redis.call('HGETALL', p .. 'numbers') }
