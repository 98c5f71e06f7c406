-- ARGV     id
-- returns  now, line if there is one
local line = redis.call('HGET', ENTRIES, ARGV[6])
return { whole(now), line and { line } or {} }
