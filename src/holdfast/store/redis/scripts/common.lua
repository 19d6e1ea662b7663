-- Shared by all scripts: how a tenant's keys are named, and how a row is put, indexed and dropped.
-- KEYS[1] is the tenant's prefix, which carries its hash tag: every key of one call lies in one slot. KEYS[2], where all keys
-- lie on one server and the script writes, are the facts of the store.
-- Names hold no NUL, so it separates them, and text sorts by bytes as its code points do.

local p = KEYS[1]
local NUL = '\0'

local function place(kind, user, id) return kind .. NUL .. user .. NUL .. id end
local function row_key(kind, user, id) return p .. 'r' .. place(kind, user, id) end
local function journal_key(kind, user, id) return p .. 'j' .. place(kind, user, id) end
local function member(user, id) return id .. NUL .. user end

-- What every snapshot that is being read still has to see is kept aside before it changes: {digest, meta, body, anchor, last
-- row of the journal, journal}. The journal only where rows of it are about to go; else it is cut behind that last row.
local snapshots = nil
local function remember(kind, user, id, with_journal)
    if snapshots == nil then
        snapshots = redis.call('ZRANGE', p .. 'snapshots', 0, -1)
    end
    local where = place(kind, user, id)
    for _, name in ipairs(snapshots) do
        local aside = p .. 'snapshot:' .. name
        local kept = redis.call('HGET', aside, where)
        local held = kept and cmsgpack.unpack(kept)
        if not held then
            local row = redis.call('HMGET', row_key(kind, user, id), 'd', 'm', 'b')
            local anchor = redis.call('HGET', p .. 'anchors', where) or ''
            local last = redis.call('XREVRANGE', journal_key(kind, user, id), '+', '-', 'COUNT', 1)
            held = { row[1] or '', row[2] or '', row[3] or '', anchor, last[1] and last[1][1] or '0-1' }
        end
        if not kept or (with_journal and not held[6]) then
            if with_journal then
                held[6] = redis.call('XRANGE', journal_key(kind, user, id), '-', held[5])
            end
            redis.call('HSET', aside, where, cmsgpack.pack(held))
            redis.call('ZADD', p .. 'snapshot-places:' .. name, 0, where)
        end
    end
end

local function bucket_key(kind, status, owner) return p .. 'bucket:' .. kind .. NUL .. status .. NUL .. owner end

local function leave_bucket(kind, status, owner, who)
    redis.call('ZREM', bucket_key(kind, status, owner), who)
    if redis.call('EXISTS', bucket_key(kind, status, owner)) == 0 then
        redis.call('SREM', p .. 'buckets:' .. kind, status .. NUL .. owner)
    end
end

local function index(kind, who, meta)
    redis.call('ZADD', p .. 'ids:' .. kind, 0, who)
    if meta.u ~= '' then
        redis.call('ZADD', p .. 'due:' .. kind, meta.u, who)
    end
    redis.call('ZADD', bucket_key(kind, meta.s, meta.o), meta.k, who)
    redis.call('SADD', p .. 'buckets:' .. kind, meta.s .. NUL .. meta.o)
    for _, label in ipairs(meta.t) do
        redis.call('ZADD', p .. 'label:' .. kind .. NUL .. label[1] .. NUL .. label[2], 0, who)
    end
end

-- A row whose fields were damaged does not tell where it is indexed; a label that is left behind leads to a row that is read
-- and counts.
local function unindex(kind, user, id)
    local old = redis.call('HGET', row_key(kind, user, id), 'm')
    if not old then
        return
    end
    local who = member(user, id)
    redis.call('ZREM', p .. 'ids:' .. kind, who)
    redis.call('ZREM', p .. 'due:' .. kind, who)
    local is_sound, meta = pcall(cjson.decode, old)
    if is_sound and type(meta) == 'table' and meta.s and meta.o and meta.t then
        leave_bucket(kind, meta.s, meta.o, who)
        for _, label in ipairs(meta.t) do
            redis.call('ZREM', p .. 'label:' .. kind .. NUL .. label[1] .. NUL .. label[2], who)
        end
        return
    end
    for _, bucket in ipairs(redis.call('SMEMBERS', p .. 'buckets:' .. kind)) do
        local cut = string.find(bucket, NUL, 1, true)
        leave_bucket(kind, string.sub(bucket, 1, cut - 1), string.sub(bucket, cut + 1), who)
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
        index(kind, member(user, id), meta)
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
local function padded(position)
    local incarnation, seq = string.match(position, '(%d+)-(%d+)')
    return string.rep('0', 10 - #incarnation) .. incarnation .. '-' .. string.rep('0', 16 - #seq) .. seq
end

local function entry(position, where) return padded(position) .. NUL .. where end

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

-- For those who look now and then whether anything was committed.
local function count_up()
    if KEYS[2] then
        redis.call('HINCRBY', KEYS[2], 'commits', 1)
    end
end
