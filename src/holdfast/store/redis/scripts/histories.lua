-- ARGV[1]: [[kind, user, id]], ARGV[2]: a snapshot's name or '', ARGV[3]: bytes. Answers {digest, meta, body, anchor, journal}
-- of the first of them, as the snapshot has to see it: of one at least, and of no more once they are so big together.
if ARGV[2] ~= '' and not redis.call('ZSCORE', p .. 'snapshots', ARGV[2]) then
    return redis.error_reply('EXPIRED it rested too long')
end
local answer, size = {}, 0
for number, row in ipairs(cjson.decode(ARGV[1])) do
    local where = place(row[1], row[2], row[3])
    local kept = ARGV[2] ~= '' and redis.call('HGET', p .. 'snapshot:' .. ARGV[2], where)
    local held
    if kept then
        held = cmsgpack.unpack(kept)
    else
        local found = redis.call('HMGET', row_key(row[1], row[2], row[3]), 'd', 'm', 'b')
        held = { found[1] or '', found[2] or '', found[3] or '', redis.call('HGET', p .. 'anchors', where) or '', '+' }
    end
    local journal = held[6] or redis.call('XRANGE', journal_key(row[1], row[2], row[3]), '-', held[5])
    answer[number] = { held[1], held[2], held[3], held[4], journal }
    size = size + #held[3]
    for _, event in ipairs(journal) do
        for _, text in ipairs(event[2]) do
            size = size + #text
        end
    end
    if size > tonumber(ARGV[3]) then
        break
    end
end
return answer
