-- take-tokens: one take from each of several token buckets, in one atomic step.
--
-- KEYS[i]  a bucket: a string of 8 little-endian doubles, format `rl1` (the format's name is part of the key)
--
-- ARGV[1]  lease         lifetime of a lease in microseconds; the same for every caller of a bucket
-- ARGV[2]  takes         for each key, in their order, 11 little-endian doubles that are integers:
--          capacity      tokens, 1..1e9
--          rate          micro-tokens per second, 1..1e15
--          version       of capacity and rate: microseconds since the Unix epoch; the newest that the bucket has seen wins
--          need          tokens, >= 0
--          partial       1: grant what is there, at most need; 0: all of need or nothing
--          ahead         tokens wanted beyond need, for a lease; 0: none
--          ret           unspent leased tokens given back; 0: none
--          spent         leased tokens that were spent, so that they need no room in the bucket any more; 0: none
--          ret epoch     the epoch of the reply that lent the tokens of ret and spent
--          refund        granted tokens given back, because their requests were not served; 0: none
--          refund epoch  the epoch of the reply that granted them
--
-- Reply: for each key a string of 7 such doubles: granted tokens, ahead tokens, level in micro-tokens after the take, epoch, and
--   the limits in force: version, capacity, rate. An empty string if the key is not a string: nothing was taken there.
--
-- State: level (micro-tokens), its time (us), version, capacity (tokens), rate (micro-tokens/s), epoch (time / lease),
--   tokens leased in this epoch, tokens leased in the epoch before.
--
-- Invariants: level + leased tokens <= capacity; the level rises by at most rate * time. A missing key is a full bucket, so the
--   key must not expire before the bucket is full: the TTL follows from the level.
-- Numbers: all are integers below 2^53, which doubles represent exactly. The clock is the server's.
-- A take that changes nothing writes nothing. A refused take must not move the time: each step rounds down to a micro-token, so
--   many small steps would starve a bucket that refills slowly.

local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max
local pack, unpack = struct.pack, struct.unpack
local MICRO = 1000000
-- If the clock goes back further than this, the bucket follows it. Else a clock that was an hour ahead would freeze every bucket
-- for an hour.
local MAX_BACKSTEP_US = 1000000
-- Longer than any bucket takes to fill: the configuration allows 30 days, and the rounded rate at most doubles that.
local MAX_TTL_MS = 90 * 24 * 3600 * 1000
local TTL_MARGIN_MS = 1000
local STATE_BYTES = 64
local STATE_FORMAT = '<dddddddd'
local TAKE_BYTES = 88
local TAKE_FORMAT = '<ddddddddddd'
local REPLY_FORMAT = '<ddddddd'

local leaseUs, takes = tonumber(ARGV[1]), ARGV[2]

local time = redis.call('TIME')
local clockUs = time[1] * MICRO + time[2]

-- floor(us * perSec / 1e6), in products that stay exact integers.
local function refillOf(us, perSec)
  local sec, restUs = floor(us / MICRO), us % MICRO
  local tokensPerSec, restPerSec = floor(perSec / MICRO), perSec % MICRO
  return sec * perSec + restUs * tokensPerSec + floor(restUs * restPerSec / MICRO)
end

-- The bucket of the current take.
local level, atUs, ownVersion, ownCapacity, ownRate, epoch, leased, leasedBefore

-- Refills up to the time toUs, never above topMicro.
local function accrue(toUs, topMicro, perSec)
  if toUs <= atUs then return end
  if level < topMicro then level = min(topMicro, level + refillOf(toUs - atUs, perSec)) end
  atUs = toUs
end

-- Adds returned tokens, up to the capacity minus the leased tokens.
local function putBack(tokens)
  level = max(level, min(level + tokens * MICRO, (ownCapacity - leased - leasedBefore) * MICRO))
end

local function take(key, offset)
  local state = redis.pcall('GET', key)
  if type(state) == 'table' then
    if string.find(state.err, '^WRONGTYPE') then return '' end
    -- Any other error is no answer about this bucket, as where an ACL user may not GET. It fails the call.
    error(state.err, 0)
  end
  local capacity, rate, version, need, partial, ahead, ret, spent, retEpoch, refund, refundEpoch =
    unpack(TAKE_FORMAT, takes, offset)
  local nowUs, changed = clockUs, false

  if state and #state == STATE_BYTES then
    level, atUs, ownVersion, ownCapacity, ownRate, epoch, leased, leasedBefore = unpack(STATE_FORMAT, state)

    if nowUs < atUs then
      if atUs - nowUs > MAX_BACKSTEP_US then
        atUs, epoch, changed = nowUs, floor(nowUs / leaseUs), true
      else
        nowUs = atUs
      end
    end

    -- The newest limits win. For equal versions the lower capacity wins, then the lower rate, so that all callers agree.
    local lower = capacity < ownCapacity or (capacity == ownCapacity and rate < ownRate)
    local newer = version > ownVersion or (version == ownVersion and lower)
    -- The limits changed at an unknown time since the last take. The lower of both rates gives nothing away.
    local perSec = newer and min(ownRate, rate) or ownRate

    -- In steps, because leased tokens make room only after their epoch.
    if leased + leasedBefore > 0 then
      accrue(min(nowUs, (epoch + 1) * leaseUs), (ownCapacity - leased - leasedBefore) * MICRO, perSec)
    end
    if leased > 0 then
      accrue(min(nowUs, (epoch + 2) * leaseUs), (ownCapacity - leased) * MICRO, perSec)
    end
    accrue(nowUs, ownCapacity * MICRO, perSec)
    local nowEpoch = floor(nowUs / leaseUs)
    if nowEpoch > epoch then
      leasedBefore = nowEpoch == epoch + 1 and leased or 0
      leased, epoch = 0, nowEpoch
    end

    if newer then
      ownVersion, ownCapacity, ownRate, changed = version, capacity, rate, true
      -- A lower capacity cuts the level, a higher one adds nothing.
      level = max(0, min(level, (ownCapacity - leased - leasedBefore) * MICRO))
    end
  else
    level, atUs, epoch, leased, leasedBefore = capacity * MICRO, nowUs, floor(nowUs / leaseUs), 0, 0
    ownVersion, ownCapacity, ownRate = version, capacity, rate
  end

  -- A report counts only while the bucket accounts for the tokens. Later it has made room for them already.
  local reported, accounted = ret + spent, false
  if reported > 0 then
    if retEpoch == epoch and leased >= reported then
      leased, accounted = leased - reported, true
    elseif retEpoch == epoch - 1 and leasedBefore >= reported then
      leasedBefore, accounted = leasedBefore - reported, true
    end
    if accounted then
      putBack(ret)
      changed = true
    end
  end
  -- A late refund would admit too much: the bucket may have refilled and been spent meanwhile.
  if refund > 0 and (refundEpoch == epoch or refundEpoch == epoch - 1) then
    putBack(refund)
    changed = true
  end

  local available, granted, lent = floor(level / MICRO), 0, 0
  if available >= need then
    granted = need
  elseif partial == 1 then
    granted = available
  end
  -- Lends at most half of what is above the last quarter. At most a quarter of the capacity is on lease at a time.
  if granted == need and ahead > 0 then
    local quarter = floor(ownCapacity / 4)
    local half = floor((available - granted - (ownCapacity - 3 * quarter)) / 2)
    lent = max(0, min(ahead, half, quarter - leased - leasedBefore))
  end
  if granted + lent > 0 then
    level, leased, changed = level - (granted + lent) * MICRO, leased + lent, true
  end

  if changed then
    local fullMs = ceil((ownCapacity * MICRO - level) / ownRate * 1000)
    local ttlMs = min(MAX_TTL_MS, fullMs + ceil(2 * leaseUs / 1000) + TTL_MARGIN_MS)
    state = pack(STATE_FORMAT, level, atUs, ownVersion, ownCapacity, ownRate, epoch, leased, leasedBefore)
    redis.call('SET', key, state, 'PX', ttlMs)
  end
  return pack(REPLY_FORMAT, granted, lent, level, epoch, ownVersion, ownCapacity, ownRate)
end

local replies = {}
for index, key in ipairs(KEYS) do
  replies[index] = take(key, (index - 1) * TAKE_BYTES + 1)
end
return replies
