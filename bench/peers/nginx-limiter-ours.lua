-- The script of Sluice, called once per request. The module is the check itself.
local ffi = require 'ffi'
local redis = require '@LIBRARY@'
local file = assert(io.open('@SCRIPT@'))
local script = file:read('*a')
file:close()
local sha = ngx.sha1_bin(script):gsub('.', function(c) return ('%02x'):format(c:byte()) end)
-- capacity, rate, version, need; no lease, nothing goes back.
local take = ffi.string(ffi.new('double[11]', 1e9, 1e12, 1, 1), 88)
local doubles = ffi.typeof('const double *')
local LEASE_US = 50000

return function()
  local connection = redis:new()
  connection:set_timeout(1000)
  local connected, why = connection:connect('127.0.0.1', @REDIS_PORT@)
  if not connected then
    ngx.log(ngx.ERR, 'redis: ', why)
    return ngx.exit(503)
  end
  local key = 'bench-ours:' .. ngx.var.remote_addr
  local reply, problem = connection:evalsha(sha, 1, key, LEASE_US, take)
  if not reply and problem and problem:find('NOSCRIPT', 1, true) then
    reply, problem = connection:eval(script, 1, key, LEASE_US, take)
  end
  if not reply then
    ngx.log(ngx.ERR, 'redis: ', problem)
    return ngx.exit(503)
  end
  connection:set_keepalive(60000, 128)
  -- granted, lent, level in micro-tokens, ...
  local bucket = ffi.cast(doubles, reply[1])
  ngx.header['RateLimit-Policy'] = '"default";q=1000000000;w=1000'
  ngx.header['RateLimit'] = '"default";r=' .. ('%d'):format(math.floor(bucket[2] / 1e6)) .. ';t=1'
  if bucket[0] < 1 then return ngx.exit(429) end
end
