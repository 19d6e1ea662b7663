-- A batch that was judged elsewhere: written only where all it was judged by is still so, not after `until`, when its
-- sender has given it up, and not once he has revoked it.
-- ARGV[1]: {name, until, incarnation, known: [[kind, user, id, digest or ""]], counted: [[user, number or ""]],
--   removed: [[kind, user, low, high]], rows: [[kind, user, id, digest, meta, body]] (indexes into ARGV; body 0: keep),
--   events: [[kind, user, id, position, header, body, delta]], streams: [[user, number]]}; ARGV[2..]: texts.
-- Answers the time, or '' where something has moved and nothing was written.
if is_closed() then
    return redis.error_reply('CLOSED ' .. is_closed())
end
local given = cjson.decode(ARGV[1])
if tonumber(now()) > tonumber(given['until']) or redis.call('EXISTS', p .. 'revoked:' .. given.name) == 1 then
    return ''
end
if incarnation() == '' then
    redis.call('HSET', p .. 'meta', 'incarnation', given.incarnation)
elseif incarnation() ~= given.incarnation then
    return ''
end
for _, row in ipairs(given.known) do
    if (redis.call('HGET', row_key(row[1], row[2], row[3]), 'd') or '') ~= row[4] then
        return ''
    end
end
for _, stream in ipairs(given.counted) do
    if (redis.call('HGET', p .. 'numbers', stream[1]) or '') ~= stream[2] then
        return ''
    end
end
for _, range in ipairs(given.removed) do
    local from, to = place(range[1], range[2], range[3]), place(range[1], range[2], range[4])
    for _, each in ipairs(redis.call('ZRANGEBYLEX', p .. 'places', '[' .. from, '(' .. to)) do
        local id = string.sub(each, #range[1] + #range[2] + 3)
        if redis.call('EXISTS', row_key(range[1], range[2], id)) == 1 then
            remember(range[1], range[2], id)
            drop(range[1], range[2], id)
        end
    end
end
for _, row in ipairs(given.rows) do
    remember(row[1], row[2], row[3])
    put(row[1], row[2], row[3], row[4], ARGV[row[5]], row[6] > 0 and ARGV[row[6]] or nil)
end
for _, event in ipairs(given.events) do
    remember(event[1], event[2], event[3])
    append(event[1], event[2], event[3], event[4], ARGV[event[5]], ARGV[event[6]], ARGV[event[7]])
end
for _, stream in ipairs(given.streams) do
    redis.call('HSET', p .. 'numbers', stream[1], stream[2])
end
return now()
