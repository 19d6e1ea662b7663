-- What lies in the buckets of some statuses and owners, all at one moment, so that nothing is missed that moves from one to
-- another: ARGV[1]: {kind, statuses, owners (empty: all), low, high (scores), count, total_max}.
-- Answers {bucket, [member, score, ...]} of each, at most `count` members; or nothing where all together hold over `total_max`.
if is_closed() then
    return redis.error_reply('CLOSED ' .. is_closed())
end
local given = cjson.decode(ARGV[1])

local function set_of(names)
    if next(names) == nil then
        return nil
    end
    local found = {}
    for _, name in ipairs(names) do
        found[name] = true
    end
    return found
end

local statuses, owners = set_of(given.statuses), set_of(given.owners)
local answer, total = {}, 0
for _, bucket in ipairs(redis.call('SMEMBERS', p .. 'buckets:' .. given.kind)) do
    local cut = string.find(bucket, NUL, 1, true)
    local status, owner = string.sub(bucket, 1, cut - 1), string.sub(bucket, cut + 1)
    if (not statuses or statuses[status]) and (not owners or owners[owner]) then
        local name = 'bucket:' .. given.kind .. NUL .. bucket
        if given.total_max then
            total = total + redis.call('ZCOUNT', p .. name, given.low, given.high)
            if total > given.total_max then
                return false
            end
        end
        local found = redis.call(
            'ZRANGE', p .. name, given.low, given.high, 'BYSCORE', 'LIMIT', 0, given.count, 'WITHSCORES'
        )
        answer[#answer + 1] = { name, found }
    end
end
return answer
