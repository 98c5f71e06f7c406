-- ARGV     after this version, most
-- returns  now, lines by version
local ids = redis.call('ZRANGEBYSCORE', ORDER, '(' .. ARGV[6], '+inf', 'LIMIT', 0, ARGV[7])
if #ids == 0 then return { whole(now), {} } end
return { whole(now), redis.call('HMGET', ENTRIES, unpack(ids)) }
