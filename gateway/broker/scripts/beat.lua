-- One gateway's proof of life; ages the others, and proves the subscription.
--
-- KEYS  1 clock  hash: tick, at (ms), generation
--       2 beats  sorted set: gateway -> the tick of its last beat
--       3 dying  sorted set: gateway -> the tick at which somebody began to reap it
--       4 gateways  hash: gateway -> what it says of itself
--       5 names  6 holds (of this gateway)  7 rooms  8 calls  9 sessions: only kept
--         from expiring
-- ARGV  1 gateway  2 interval ms  3 dead ticks  4 retention s
--       5 what it says of itself  6 its channel  7 the probe to publish there
--
-- Time is counted in ticks: one for each interval in which somebody beats (or nine
-- tenths of it: who beats a little early must not have to wait for the next beat),
-- and one only for any time in which nobody does.  So a Redis that was stopped, or
-- restarted, has aged nobody, and no living gateway looks dead after it.
--
-- Returns {state, tick, seconds, microseconds, gateway to reap...}; state is
-- 'alive', 'new' (it had no lease until now) or 'dying' (it is being reaped and
-- has no lease yet); seconds and microseconds are Redis's time.
-- A gateway to reap is given to one caller; if that one does not finish, to
-- another one after as many ticks again.

local clock, beats, dying, gateways = unpack(KEYS)
local gateway, dead = ARGV[1], tonumber(ARGV[3])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = redis.call('HMGET', clock, 'tick', 'at')
local tick, at = tonumber(last[1] or 0), tonumber(last[2] or 0)
if now < at or now - at >= ARGV[2] * 0.9 then
  tick = tick + 1
  redis.call('HSET', clock, 'tick', tick, 'at', string.format('%.0f', now))
end

redis.call('PUBLISH', ARGV[6], ARGV[7])
local state = 'alive'
if redis.call('ZSCORE', dying, gateway) then
  state = 'dying'
else
  if redis.call('ZADD', beats, tick, gateway) == 1 then state = 'new' end
  redis.call('HSET', gateways, gateway, ARGV[5])
end

local reply = {state, tick, tonumber(time[1]), tonumber(time[2])}
local function give(found)
  for _, lost in ipairs(found) do
    redis.call('ZREM', beats, lost)
    redis.call('ZADD', dying, tick, lost)
    reply[#reply + 1] = lost
  end
end
give(redis.call('ZRANGEBYSCORE', dying, '-inf', tick - dead))
give(redis.call('ZRANGEBYSCORE', beats, '-inf', tick - dead))

local retention = tonumber(ARGV[4])
for _, key in ipairs(KEYS) do
  local ttl = redis.call('TTL', key)
  if ttl ~= -2 and ttl < retention / 2 then redis.call('EXPIRE', key, retention) end
end
return reply
