-- A user's stream: ARGV: user, the position to start behind ('': from the first), count. Answers {position, place, fields} of
-- each row.
if is_closed() then
    return redis.error_reply('CLOSED ' .. is_closed())
end
local from = ARGV[2] == '' and '-' or '(' .. entry(ARGV[2], '\255')
local found = {}
for _, each in ipairs(redis.call('ZRANGEBYLEX', p .. 'stream:' .. ARGV[1], from, '+', 'LIMIT', 0, ARGV[3])) do
    local cut = string.find(each, NUL, 1, true)
    local incarnation, seq = string.match(string.sub(each, 1, cut - 1), '0*(%d+)-0*(%d+)')
    local where = string.sub(each, cut + 1)
    local position = incarnation .. '-' .. seq
    local row = redis.call('XRANGE', p .. 'j' .. where, position, position)
    if row[1] then
        found[#found + 1] = { position, where, row[1][2] }
    end
end
return found
