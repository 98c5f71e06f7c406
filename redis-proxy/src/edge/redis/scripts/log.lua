-- ARGV     epoch, after this version, newest version seen, its mark, most
-- returns  epoch, floor, last, mark, now, entries: "version expires kind value", gone: kind value, version, …
local seen_epoch, after, newest, seen_mark, most = ARGV[6], ARGV[7], tonumber(ARGV[8]), ARGV[9], ARGV[10]

local head = redis.call('HMGET', HEAD, 'last', 'mark', 'floor')
local last, mark, floor = head[1] or '0', head[2] or '', head[3] or '0'
local known = epoch()
if seen_epoch ~= known then
  after = '0'
else
  -- A follower who knows of changes that are not here, or are others here: this Redis lost some.
  local lost = newest > tonumber(last)
  if newest == tonumber(last) then
    lost = seen_mark ~= mark
  elseif not lost then
    local text = redis.call('ZRANGEBYSCORE', AUDIT, ARGV[8], ARGV[8])[1]
    lost = text and string.sub(text, 1, #seen_mark + 1) ~= seen_mark .. ' '
  end
  if lost then
    known, after = FRESH, '0'
    redis.call('HSET', HEAD, 'epoch', known)
  end
end

local entries = {}
local ids = redis.call('ZRANGEBYSCORE', ORDER, '(' .. after, '+inf', 'LIMIT', 0, most)
for from = 1, #ids, 1000 do
  for _, line in ipairs(redis.call('HMGET', ENTRIES, unpack(ids, from, math.min(from + 999, #ids)))) do
    local entry = fields(line)
    entries[#entries + 1] = entry.version .. ' ' .. whole(entry.expires) .. ' ' .. entry.member
  end
end
local gone = redis.call('ZRANGEBYSCORE', GONE, '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
return { known, floor, last, mark, whole(now), entries, gone }
