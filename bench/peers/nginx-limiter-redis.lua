-- Shared by both limiters of nginx: one call of a script in Redis per request, over kept connections.
local redis = require '@LIBRARY@'

-- Returns a function that calls a script with the address of the request and returns the reply; on failure it answers 503.
return function(script, prefix)
  local sha = ngx.sha1_bin(script):gsub('.', function(c) return ('%02x'):format(c:byte()) end)
  return function(...)
    local connection = redis:new()
    connection:set_timeout(1000)
    local connected, why = connection:connect('127.0.0.1', @REDIS_PORT@)
    if not connected then
      ngx.log(ngx.ERR, 'redis: ', why)
      return ngx.exit(503)
    end
    local key = prefix .. ngx.var.remote_addr
    local reply, problem = connection:evalsha(sha, 1, key, ...)
    if not reply and problem and problem:find('NOSCRIPT', 1, true) then
      reply, problem = connection:eval(script, 1, key, ...)
    end
    if not reply then
      ngx.log(ngx.ERR, 'redis: ', problem)
      return ngx.exit(503)
    end
    connection:set_keepalive(60000, 128)
    return reply
  end
end
