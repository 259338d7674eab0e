-- A token bucket per address with one round trip per request, as in the usual recipes. Loading this module performs the check.
local script = [[
local now = redis.call('TIME')
local at = now[1] + now[2] / 1000000
local bucket = redis.call('HMGET', KEYS[1], 'level', 'at')
local capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local level = math.min(capacity, (tonumber(bucket[1]) or capacity) + (at - (tonumber(bucket[2]) or at)) * rate)
local allowed = level >= 1
if allowed then level = level - 1 end
redis.call('HSET', KEYS[1], 'level', tostring(level), 'at', tostring(at))
redis.call('EXPIRE', KEYS[1], 3600)
return { allowed and 1 or 0, math.floor(level) }
]]
local ask = require 'limiter-redis' (script, 'bench:')

return function()
  local reply = ask(1000000000, 1000000)
  ngx.header['RateLimit-Policy'] = '"default";q=1000000000;w=1000'
  ngx.header['RateLimit'] = '"default";r=' .. reply[2] .. ';t=1'
  if reply[1] == 0 then return ngx.exit(429) end
end
