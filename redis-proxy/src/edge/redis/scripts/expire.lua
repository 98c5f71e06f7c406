-- ARGV     what the names of the changes start with, most entries
-- returns  changes
local prefix, most = ARGV[6], ARGV[7]

local changes = {}
for at, id in ipairs(redis.call('ZRANGEBYSCORE', ENDS, '-inf', whole(now), 'LIMIT', 0, most)) do
  if not room(1) then break end
  changes[at] = take(redis.call('HGET', ENTRIES, id), 'expired', '""', prefix .. '-' .. at)
end
return changes
