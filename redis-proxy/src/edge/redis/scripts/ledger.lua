-- What all operations on a list share. Time is this Redis's own, milliseconds since 1970.
--
-- KEYS, all with the tag of the list, so that they are in one slot:
--   head     hash    epoch, last, mark, floor
--   entries  hash    id → line: version created expires id kind value info
--   members  hash    kind value → id
--   order    zset    id by version
--   ends     zset    id by expires
--   gone     zset    kind value by version
--   audit    zset    change by version: "id version at action", LF, by, LF, line of the entry
--   outbox   zset    id of a change by version
--   events   hash    id of a change → change
-- ARGV begins with: a fresh epoch, most events (-1: none are kept), most gone, most audit, most entries.
local HEAD, ENTRIES, MEMBERS, ORDER, ENDS, GONE, AUDIT, OUTBOX, EVENTS = unpack(KEYS)
local FRESH = ARGV[1]
local MOST_EVENTS, MOST_GONE = tonumber(ARGV[2]), tonumber(ARGV[3])
local MOST_AUDIT, MOST_ENTRIES = tonumber(ARGV[4]), tonumber(ARGV[5])

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function whole(n)
  return string.format('%.0f', n)
end

local function fields(line)
  local version, created, expires, id, member, info =
    string.match(line, '^(%d+) (%d+) (%d+) (%S+) (%S+ %S+) (.*)$')
  return { version = version, created = created, expires = tonumber(expires), id = id, member = member, info = info }
end

local function room(wanted)
  return MOST_EVENTS < 0 or redis.call('ZCARD', OUTBOX) + wanted <= MOST_EVENTS
end

local function epoch()
  local known = redis.call('HGET', HEAD, 'epoch')
  if known then return known end
  redis.call('HSET', HEAD, 'epoch', FRESH)
  return FRESH
end

local function step(change)
  epoch()
  redis.call('HSET', HEAD, 'mark', change)
  return whole(redis.call('HINCRBY', HEAD, 'last', 1))
end

local function tell(change, version, action, by, line)
  local text = change .. ' ' .. version .. ' ' .. whole(now) .. ' ' .. action .. '\n' .. by .. '\n' .. line
  redis.call('ZADD', AUDIT, version, text)
  redis.call('ZREMRANGEBYRANK', AUDIT, 0, whole(-MOST_AUDIT - 1))
  if MOST_EVENTS >= 0 then
    redis.call('ZADD', OUTBOX, version, change)
    redis.call('HSET', EVENTS, change, text)
  end
  return text
end

-- A call that the client repeated because the connection broke: what it did the first time.
local function done_before(change)
  for _, text in ipairs(redis.call('ZREVRANGE', AUDIT, 0, 99)) do
    if string.sub(text, 1, #change + 1) == change .. ' ' then return text end
  end
end

local function withdraw(entry)
  redis.call('HDEL', ENTRIES, entry.id)
  redis.call('HDEL', MEMBERS, entry.member)
  redis.call('ZREM', ORDER, entry.id)
  redis.call('ZREM', ENDS, entry.id)
end

local function take(line, action, by, change)
  local entry = fields(line)
  withdraw(entry)
  local version = step(change)
  redis.call('ZADD', GONE, version, entry.member)
  local over = redis.call('ZCARD', GONE) - MOST_GONE
  if over > 0 then
    local newest = redis.call('ZRANGE', GONE, whole(over - 1), whole(over - 1), 'WITHSCORES')
    redis.call('HSET', HEAD, 'floor', newest[2])
    redis.call('ZREMRANGEBYRANK', GONE, 0, whole(over - 1))
  end
  return tell(change, version, action, by, line)
end
