-- How far the clock moved since `last`, and where it now stands: bucket/mod.rs, `step`.
local LONGEST_STEP_US, CLOCK_WAIT_US = 5400000000000, 1000000
local function step(last)
  if now >= last then
    return now, math.min(now - last, LONGEST_STEP_US)
  elseif last - now <= CLOCK_WAIT_US then
    return last, 0
  end
  return now, 0
end

local function up(n, unit)
  return math.ceil(n / unit)
end
