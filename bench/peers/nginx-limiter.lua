-- A token bucket per address, one round trip per request: what the usual recipes do. The module is the check itself.
local redis = require '@LIBRARY@'
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
local sha = ngx.sha1_bin(script):gsub('.', function(c) return ('%02x'):format(c:byte()) end)

return function()
  local connection = redis:new()
  connection:set_timeout(1000)
  local connected, why = connection:connect('127.0.0.1', @REDIS_PORT@)
  if not connected then
    ngx.log(ngx.ERR, 'redis: ', why)
    return ngx.exit(503)
  end
  local key = 'bench:' .. ngx.var.remote_addr
  local reply, problem = connection:evalsha(sha, 1, key, 1000000000, 1000000)
  if not reply and problem and problem:find('NOSCRIPT', 1, true) then
    reply, problem = connection:eval(script, 1, key, 1000000000, 1000000)
  end
  if not reply then
    ngx.log(ngx.ERR, 'redis: ', problem)
    return ngx.exit(503)
  end
  connection:set_keepalive(60000, 128)
  ngx.header['RateLimit-Policy'] = '"default";q=1000000000;w=1000'
  ngx.header['RateLimit'] = '"default";r=' .. reply[2] .. ';t=1'
  if reply[1] == 0 then return ngx.exit(429) end
end
