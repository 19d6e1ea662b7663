-- Shared by all scripts: how a tenant's keys are named, and how a row is put, indexed and dropped.
-- KEYS[1] is the tenant's prefix, which carries its hash tag: every key of one call lies in one slot.
-- Names hold no NUL, so it separates them, and text sorts by bytes as its code points do.

local p = KEYS[1]
local NUL = '\0'

local function place(kind, user, id) return kind .. NUL .. user .. NUL .. id end
local function row_key(kind, user, id) return p .. 'r' .. place(kind, user, id) end
local function journal_key(kind, user, id) return p .. 'j' .. place(kind, user, id) end
local function member(user, id) return id .. NUL .. user end

-- What every snapshot that is being read still has to see is kept aside before it changes.
local snapshots = nil
local function remember(kind, user, id)
    if snapshots == nil then
        snapshots = redis.call('ZRANGE', p .. 'snapshots', 0, -1)
    end
    for _, name in ipairs(snapshots) do
        local row = redis.call('HMGET', row_key(kind, user, id), 'd', 'm', 'b')
        local anchor = redis.call('HGET', p .. 'anchors', place(kind, user, id)) or ''
        local last = redis.call('XREVRANGE', journal_key(kind, user, id), '+', '-', 'COUNT', 1)
        local upto = last[1] and last[1][1] or '0-1'
        local kept = cmsgpack.pack({ row[1] or '', row[2] or '', row[3] or '', anchor, upto })
        redis.call('HSETNX', p .. 'snapshot:' .. name, place(kind, user, id), kept)
    end
end

local function each_index(kind, user, id, meta, change)
    local who = member(user, id)
    change(p .. 'ids:' .. kind, '0', who)
    if meta.u ~= '' then
        change(p .. 'due:' .. kind, meta.u, who)
    end
    change(p .. 'bucket:' .. kind .. NUL .. meta.s .. NUL .. meta.o, meta.k, who)
    for _, label in ipairs(meta.t) do
        change(p .. 'label:' .. kind .. NUL .. label[1] .. NUL .. label[2], '0', who)
    end
end

local function add(key, score, who) redis.call('ZADD', key, score, who) end
local function remove(key, _, who) redis.call('ZREM', key, who) end

local function unindex(kind, user, id)
    local old = redis.call('HGET', row_key(kind, user, id), 'm')
    if old then
        local meta = cjson.decode(old)
        if not meta.x then
            each_index(kind, user, id, meta, remove)
        end
    end
end

-- `body` is nil where it stays as it is.
local function put(kind, user, id, digest, text, body)
    unindex(kind, user, id)
    redis.call('HSET', row_key(kind, user, id), 'd', digest, 'm', text)
    if body then
        redis.call('HSET', row_key(kind, user, id), 'b', body)
    end
    redis.call('ZADD', p .. 'places', 0, place(kind, user, id))
    local meta = cjson.decode(text)
    if not meta.x then
        each_index(kind, user, id, meta, add)
        redis.call('SADD', p .. 'buckets:' .. kind, meta.s .. NUL .. meta.o)
    end
end

local function drop(kind, user, id)
    unindex(kind, user, id)
    redis.call('DEL', row_key(kind, user, id))
    if redis.call('EXISTS', journal_key(kind, user, id)) == 0 then
        redis.call('ZREM', p .. 'places', place(kind, user, id))
    end
end

-- A user's stream is a set sorted by text, which rows of the past can be loaded into: padded position, NUL, place.
local function entry(position, where)
    local incarnation, seq = string.match(position, '(%d+)-(%d+)')
    return string.rep('0', 10 - #incarnation) .. incarnation .. '-' .. string.rep('0', 16 - #seq) .. seq .. NUL .. where
end

local function append(kind, user, id, position, header, body, delta)
    redis.call('XADD', journal_key(kind, user, id), position, 'h', header, 'b', body, 'd', delta)
    redis.call('ZADD', p .. 'stream:' .. user, 0, entry(position, place(kind, user, id)))
    redis.call('ZADD', p .. 'places', 0, place(kind, user, id))
end

local function forget(kind, user, id, position)
    redis.call('XDEL', journal_key(kind, user, id), position)
    redis.call('ZREM', p .. 'stream:' .. user, entry(position, place(kind, user, id)))
end

local function now()
    local time = redis.call('TIME')
    return time[1] .. string.format('%06d', time[2])
end

local function incarnation() return redis.call('HGET', p .. 'meta', 'incarnation') or '' end

local function is_closed() return redis.call('HGET', p .. 'meta', 'closed') end
