-- Keeps a quota if it is newer than what is there (Q1).
--
-- KEYS[1]: the hash. ARGV: limit, used, remaining, period, reset_at, last_updated, and when it may be forgotten,
-- milliseconds since 1970. Times are RFC 3339 in UTC, ending in Z.
local NAMES = { 'limit', 'used', 'remaining', 'period', 'reset_at', 'last_updated' }

-- Digits alone and as many of them in every time, so that they compare as text whatever the locale. Nothing for what
-- somebody else has written in another form: whatever is newer than that cannot be told, and replaces it.
local function order(text)
  if not text or not string.match(text, '^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.?%d*Z$') then return nil end
  local digits = string.gsub(text, '%D', '')
  if #digits > 23 then return nil end
  return digits .. string.rep('0', 23 - #digits)
end

local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then return 'occupied' end

local known = redis.call('HMGET', KEYS[1], unpack(NAMES))
local old, new = order(known[6]), order(ARGV[6])
if old and new < old then return 'stale' end
if old == new then
  for i = 1, 6 do
    if known[i] ~= ARGV[i] then return 'conflict' end
  end
  return 'duplicate'
end
local pairs_of = {}
for i = 1, 6 do
  pairs_of[2 * i - 1], pairs_of[2 * i] = NAMES[i], ARGV[i]
end
redis.call('HSET', KEYS[1], unpack(pairs_of))
redis.call('PEXPIREAT', KEYS[1], ARGV[7])
return 'applied'
