-- Records change hands: ARGV[1]: [[kind, user, id, digest, new digest, new meta]].
-- Answers the time, and of each whether it was as expected and was taken.
if is_closed() then
    return redis.error_reply('CLOSED ' .. is_closed())
end
local taken = {}
for number, row in ipairs(cjson.decode(ARGV[1])) do
    taken[number] = 0
    if redis.call('HGET', row_key(row[1], row[2], row[3]), 'd') == row[4] then
        remember(row[1], row[2], row[3])
        put(row[1], row[2], row[3], row[5], row[6], nil)
        taken[number] = 1
    end
end
return { now(), taken }
