-- ARGV     ids of changes
for at = 6, #ARGV do
  redis.call('ZREM', OUTBOX, ARGV[at])
  redis.call('HDEL', EVENTS, ARGV[at])
end
return #ARGV - 5
