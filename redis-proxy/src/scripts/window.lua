-- An exact count: what bucket/window.rs does, step by step. What it must guarantee: wire/src/limits.rs.
--
-- KEYS[1]  the key
-- ARGV     want, give_back, age_us of the oldest of them (negative: too late), tokens, hold_us, slot_us
-- returns  granted, retry_after_ms, remaining, reset_ms
--
-- State: at, then per slot, oldest first: first age, last age, taken.
local want, give_back, oldest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local tokens, hold, width = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local at, elapsed, slots = now, 0, {}
local stored = redis.call('GET', KEYS[1])
if stored then
  local n = {}
  for word in string.gmatch(stored, '%S+') do n[#n + 1] = tonumber(word) end
  at, elapsed = step(n[1])
  for i = 2, #n, 3 do
    local slot = { first = n[i] + elapsed, last = n[i + 1] + elapsed, taken = n[i + 2] }
    if slot.last < hold then
      if slot.last <= oldest then
        local dropped = math.min(give_back, slot.taken)
        slot.taken = slot.taken - dropped
        give_back = give_back - dropped
      end
      if slot.taken > 0 then slots[#slots + 1] = slot end
    end
  end
end

local used = 0
for _, slot in ipairs(slots) do used = used + slot.taken end

local granted = math.min(want, math.max(tokens - used, 0))
if granted > 0 then
  used = used + granted
  local newest = slots[#slots]
  if newest and newest.first < width then
    newest.last = 0
    newest.taken = newest.taken + granted
  else
    slots[#slots + 1] = { first = 0, last = 0, taken = granted }
  end
end

local retry, left = 0, used
for _, slot in ipairs(slots) do
  if left < tokens then break end
  left = left - slot.taken
  if left < tokens then
    retry = up(hold - slot.last, 1000)
    break
  end
end

local remaining = math.max(tokens - used, 0)
if #slots == 0 then
  redis.call('DEL', KEYS[1])
  return { granted, retry, remaining, 0 }
end
local reset = up(hold - slots[#slots].last, 1000)
local words = { string.format('%.0f', at) }
for _, slot in ipairs(slots) do
  words[#words + 1] = string.format('%.0f %.0f %.0f', slot.first, slot.last, slot.taken)
end
redis.call('SET', KEYS[1], table.concat(words, ' '), 'PX', string.format('%.0f', reset))
return { granted, retry, remaining, reset }
