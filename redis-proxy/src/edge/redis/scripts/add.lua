-- ARGV     id, change, change of an entry that is over, kind value, ttl_ms, info, by, 1: renews
-- returns  done change | duplicate id | outbox_full | list_full
local id, change, ending, member, ttl = ARGV[6], ARGV[7], ARGV[8], ARGV[9], tonumber(ARGV[10])
local info, by, renews = ARGV[11], ARGV[12], ARGV[13] == '1'

local there = redis.call('HGET', MEMBERS, member)
local line = there and redis.call('HGET', ENTRIES, there)
local old = line and fields(line)
local live = old and old.expires > now
if live then
  local before = done_before(change)
  if before then return { 'done', before } end
  if not renews then return { 'duplicate', there } end
end
local over = old and not live
if not room(over and 2 or 1) then return { 'outbox_full' } end
if not old and redis.call('HLEN', ENTRIES) >= MOST_ENTRIES then return { 'list_full' } end

local created, action = whole(now), 'added'
if over then
  take(line, 'expired', '""', ending)
elseif live then
  withdraw(old)
  id, created, action = old.id, old.created, 'renewed'
end
local version, expires = step(change), whole(now + ttl)
redis.call('ZREM', GONE, member)
line = table.concat({ version, created, expires, id, member, info }, ' ')
redis.call('HSET', ENTRIES, id, line)
redis.call('HSET', MEMBERS, member, id)
redis.call('ZADD', ORDER, version, id)
redis.call('ZADD', ENDS, expires, id)
return { 'done', tell(change, version, action, by, line) }
