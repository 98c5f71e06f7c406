-- For tests: time is the last argument, microseconds since 1970.
local now = tonumber(ARGV[#ARGV])
