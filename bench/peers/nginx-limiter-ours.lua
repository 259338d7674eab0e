-- Calls the script of Sluice once per request. Loading this module performs the check.
local ffi = require 'ffi'
local file = assert(io.open('@SCRIPT@'))
local script = file:read('*a')
file:close()
local ask = require 'limiter-redis' (script, 'bench-ours:')
-- capacity, rate, version, need; no lease is asked for and nothing is given back.
local take = ffi.string(ffi.new('double[11]', 1e9, 1e12, 1, 1), 88)
local doubles = ffi.typeof('const double *')
local LEASE_US = 50000

return function()
  local reply = ask(LEASE_US, take)
  -- granted, lent, level in micro-tokens, ...
  local bucket = ffi.cast(doubles, reply[1])
  ngx.header['RateLimit-Policy'] = '"default";q=1000000000;w=1000'
  ngx.header['RateLimit'] = '"default";r=' .. ('%d'):format(math.floor(bucket[2] / 1e6)) .. ';t=1'
  if bucket[0] < 1 then return ngx.exit(429) end
end
