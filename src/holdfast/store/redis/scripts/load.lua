-- Puts whole histories in place of what is there: ARGV[1]: {incarnation, histories: [[kind, user, id, digest, meta, body, anchor,
-- [[position, header, body, delta]]]]} (texts are indexes into ARGV; digest "": no row).
local given = cjson.decode(ARGV[1])
if incarnation() == '' then
    redis.call('HSET', p .. 'meta', 'incarnation', given.incarnation)
end
for _, each in ipairs(given.histories) do
    local kind, user, id = each[1], each[2], each[3]
    remember(kind, user, id)
    for _, row in ipairs(redis.call('XRANGE', journal_key(kind, user, id), '-', '+')) do
        forget(kind, user, id, row[1])
    end
    redis.call('DEL', journal_key(kind, user, id))
    redis.call('HDEL', p .. 'anchors', place(kind, user, id))
    drop(kind, user, id)
    if each[4] ~= '' then
        put(kind, user, id, each[4], ARGV[each[5]], ARGV[each[6]])
    end
    if each[7] ~= '' then
        redis.call('HSET', p .. 'anchors', place(kind, user, id), each[7])
    end
    for _, row in ipairs(each[8]) do
        append(kind, user, id, row[1], ARGV[row[2]], ARGV[row[3]], ARGV[row[4]])
    end
end
return now()
