-- beat-instance: an instance announces that it runs, or that it ends, and gets the number of workers of all that run.
--
-- KEYS[1]  the running instances: a sorted set of members `<id> <workers>`, scored by the time when they count as gone
--
-- ARGV[1]  member   of the calling instance
-- ARGV[2]  ttl      milliseconds until it counts as gone; 0: it ends now. The same for every instance
--
-- Reply: the number of workers of all running instances.
--
-- The clock is the server's. A score further ahead than the ttl was written before the clock was set back, and is dropped.

local key, member, ttl = KEYS[1], ARGV[1], tonumber(ARGV[2])

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

if ttl == 0 then
  redis.call('ZREM', key, member)
else
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
  redis.call('ZREMRANGEBYSCORE', key, string.format('(%.0f', now + ttl), '+inf')
  redis.call('ZADD', key, string.format('%.0f', now + ttl), member)
  redis.call('PEXPIRE', key, ttl)
end

local sum = 0
for _, living in ipairs(redis.call('ZRANGE', key, 0, -1)) do
  sum = sum + (tonumber(string.match(living, ' (%d+)$')) or 0)
end
return sum
