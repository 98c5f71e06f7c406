-- ARGV     most
-- returns  changes, oldest first
local ids = redis.call('ZRANGE', OUTBOX, 0, whole(tonumber(ARGV[6]) - 1))
if #ids == 0 then return {} end
return redis.call('HMGET', EVENTS, unpack(ids))
