-- ARGV     id, change, by
-- returns  done change | none | outbox_full
local id, change, by = ARGV[6], ARGV[7], ARGV[8]

local line = redis.call('HGET', ENTRIES, id)
if not line or fields(line).expires <= now then
  local before = done_before(change)
  if before then return { 'done', before } end
  return { 'none' }
end
if not room(1) then return { 'outbox_full' } end
return { 'done', take(line, 'removed', by, change) }
