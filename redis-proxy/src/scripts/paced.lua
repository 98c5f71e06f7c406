-- Two GCRA buckets: what bucket/paced.rs does, step by step, in doubles that hold integers < 2^53.
-- What it must guarantee: wire/src/limits.rs.
--
-- KEYS[1]  the key
-- ARGV     want, give_back, age_us of the oldest of them (negative: too late),
--          tokens, peak, period_ns, sustained tolerance_ns, peak tolerance_ns
-- returns  granted, retry_after_ms, remaining, reset_ms
--
-- State: at, tokens, peak, period_ns, base ×2; then per slot, oldest first:
--        first age, last age, taken, alone ×2.
local HORIZON_NS, SLOT_NS = 500000000, 50000000
local LONG_EMPTY_NS, LINGER_MS = -10000000000, 1000

local want, give_back, oldest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]) * 1000
local tokens, peak, period = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local function pace(n, per, tolerance)
  local whole = math.floor(per / n)
  local part = per - whole * n
  local function cost(k)
    return k * whole + math.ceil(k * part / n)
  end
  local function room(backlog)
    local free = math.max(tolerance - math.max(backlog, 0), 0)
    local k = math.floor(free / per * n)
    while k > 0 and cost(k) > free do k = k - 1 end
    while cost(k + 1) <= free do k = k + 1 end
    return k
  end
  local function wait(backlog)
    return math.max(math.max(backlog, 0) + cost(1) - tolerance, 0)
  end
  return { cost = cost, room = room, wait = wait }
end

local paces = { pace(tokens, period, tonumber(ARGV[7])), pace(peak, period, tonumber(ARGV[8])) }

local function over(slot, base, by)
  local k = slot.taken
  return {
    math.max(slot[1], base[1] + by[1].cost(k)),
    math.max(slot[2], base[2] + by[2].cost(k)),
  }
end

-- advance; slots too old to give back from merge into the base, so do all when the rate was changed
local at, base, slots = now, { LONG_EMPTY_NS, LONG_EMPTY_NS }, {}
local stored = redis.call('GET', KEYS[1])
if stored then
  local n = {}
  for word in string.gmatch(stored, '%S+') do n[#n + 1] = tonumber(word) end
  local elapsed
  at, elapsed = step(n[1])
  elapsed = elapsed * 1000
  local function grown_old(backlog)
    return math.max(backlog - elapsed, LONG_EMPTY_NS)
  end
  local priced, repriced = paces, false
  if n[2] ~= tokens or n[3] ~= peak or n[4] ~= period then
    priced, repriced = { pace(n[2], n[4], 0), pace(n[3], n[4], 0) }, true
  end
  base = { grown_old(n[5]), grown_old(n[6]) }
  for i = 7, #n, 5 do
    local slot = {
      first = n[i] + elapsed, last = n[i + 1] + elapsed, taken = n[i + 2],
      grown_old(n[i + 3]), grown_old(n[i + 4]),
    }
    if repriced or slot.last > HORIZON_NS then
      base = over(slot, base, priced)
    else
      slots[#slots + 1] = slot
    end
  end
end

-- take back
if give_back > 0 and oldest >= 0 then
  local kept = {}
  for _, slot in ipairs(slots) do
    if slot.last <= oldest then
      local dropped = math.min(give_back, slot.taken)
      give_back = give_back - dropped
      slot.taken = slot.taken - dropped
      for i = 1, 2 do
        local bound = paces[i].cost(slot.taken) - slot.last
        slot[i] = math.max(math.min(slot[i], bound), LONG_EMPTY_NS)
      end
    end
    if slot.taken > 0 then kept[#kept + 1] = slot end
  end
  slots = kept
end

-- grant
local function backlog()
  local b = base
  for _, slot in ipairs(slots) do b = over(slot, b, paces) end
  return b
end
local function room(b)
  return math.min(paces[1].room(b[1]), paces[2].room(b[2]))
end
local granted = math.min(want, room(backlog()))
if granted > 0 then
  local costs = { paces[1].cost(granted), paces[2].cost(granted) }
  local newest = slots[#slots]
  if newest and newest.first < SLOT_NS then
    newest.last = 0
    newest.taken = newest.taken + granted
    for i = 1, 2 do newest[i] = math.max(newest[i], 0) + costs[i] end
  else
    slots[#slots + 1] = { first = 0, last = 0, taken = granted, costs[1], costs[2] }
  end
end

local after = backlog()
local remaining = room(after)
local reset = up(math.max(after[1], after[2], 0), 1000000)
local retry = 0
if remaining == 0 then
  retry = up(math.max(paces[1].wait(after[1]), paces[2].wait(after[2])), 1000000)
end

local words = {
  string.format('%.0f %.0f %.0f %.0f %.0f %.0f', at, tokens, peak, period, base[1], base[2]),
}
for _, slot in ipairs(slots) do
  words[#words + 1] = string.format(
    '%.0f %.0f %.0f %.0f %.0f', slot.first, slot.last, slot.taken, slot[1], slot[2])
end
redis.call('SET', KEYS[1], table.concat(words, ' '), 'PX', string.format('%.0f', reset + LINGER_MS))
return { granted, retry, remaining, reset }
