-- Lets the first rows of a journal go: ARGV: kind, user, id, the first position that stays ('': none), the anchor.
local kind, user, id, first, anchor = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local last = first == '' and '+' or '(' .. first
remember(kind, user, id)
local gone = redis.call('XRANGE', journal_key(kind, user, id), '-', last)
for _, row in ipairs(gone) do
    forget(kind, user, id, row[1])
end
if first ~= '' then
    redis.call('HSET', p .. 'anchors', place(kind, user, id), anchor)
else
    redis.call('DEL', journal_key(kind, user, id))
    redis.call('HDEL', p .. 'anchors', place(kind, user, id))
    if redis.call('EXISTS', row_key(kind, user, id)) == 0 then
        redis.call('ZREM', p .. 'places', place(kind, user, id))
    end
end
return #gone
