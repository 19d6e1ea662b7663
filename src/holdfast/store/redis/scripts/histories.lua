-- ARGV[1]: [[kind, user, id]], ARGV[2]: a snapshot's name or ''. Answers {digest, meta, body, anchor, journal} of each, the row
-- as the snapshot has to see it.
local answer = {}
for number, row in ipairs(cjson.decode(ARGV[1])) do
    local where = place(row[1], row[2], row[3])
    local kept = ARGV[2] ~= '' and redis.call('HGET', p .. 'snapshot:' .. ARGV[2], where)
    local held
    if kept then
        held = cmsgpack.unpack(kept)
    else
        local found = redis.call('HMGET', row_key(row[1], row[2], row[3]), 'd', 'm', 'b')
        held = { found[1] or '', found[2] or '', found[3] or '', redis.call('HGET', p .. 'anchors', where) or '' }
    end
    held[5] = redis.call('XRANGE', journal_key(row[1], row[2], row[3]), '-', held[5] or '+')
    answer[number] = held
end
return answer
