-- ARGV[1]: {rows: [[kind, user, id, whole]], streams: [user]}.
-- Answers the time, the incarnation, {digest, meta, body} of each row, and each stream's last number.
if is_closed() then
    return redis.error_reply('CLOSED ' .. is_closed())
end
local given = cjson.decode(ARGV[1])
local rows, numbers = {}, {}
for number, row in ipairs(given.rows) do
    local found = redis.call('HMGET', row_key(row[1], row[2], row[3]), 'd', 'm')
    local body = ''
    if found[1] and row[4] then
        body = redis.call('HGET', row_key(row[1], row[2], row[3]), 'b')
    end
    rows[number] = { found[1] or '', found[2] or '', body or '' }
end
for number, user in ipairs(given.streams) do
    numbers[number] = redis.call('HGET', p .. 'numbers', user) or ''
end
return { now(), incarnation(), rows, numbers }
