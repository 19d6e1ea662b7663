-- One command that reads, of a store that may be read: ARGV: its name, the key behind the tenant's prefix, its further words.
if is_closed() then
    return redis.error_reply('CLOSED ' .. is_closed())
end
return redis.call(ARGV[1], p .. ARGV[2], unpack(ARGV, 3))
