-- Numbers on behind a loaded store: ARGV[1]: {incarnation, streams: [[user, number]]}; what is ahead of it stays.
local given = cjson.decode(ARGV[1])
if tonumber(given.incarnation) > tonumber(incarnation() == '' and '0' or incarnation()) then
    redis.call('HSET', p .. 'meta', 'incarnation', given.incarnation)
end
for _, stream in ipairs(given.streams) do
    local ours = redis.call('HGET', p .. 'numbers', stream[1])
    if not ours or tonumber(stream[2]) > tonumber(ours) then
        redis.call('HSET', p .. 'numbers', stream[1], stream[2])
    end
end
return now()
