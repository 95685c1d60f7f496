-- Claims and releases names for one gateway; no name is held twice.
--
-- KEYS  1 names  hash: folded name -> "GATEWAY SESSION GENERATION ROOM NAME"
--       2 clock  hash: tick, at, generation
--       3 beats  sorted set: gateway -> the tick of its last beat
--       4 holds  set of this gateway: the folded names it may hold
--       5 rooms  sorted set: room -> how many people are in it
--       6 calls  hash: calling gateway -> the number of its last call
-- ARGV  1 gateway  2 silent ticks  3 retention s  4 calling gateway  5 number of this call
--       then, for each operation, 6 fields:
--       verb, folded name, session, generation, room, name
--
-- A call can be repeated under its number until there is a later one: one that was
-- stuck on a dead connection must not claim again what has been released since.
--
-- Verbs:
-- claim    'ok GENERATION ', or 'ok GENERATION GATEWAY ROOM' if the same session
--          held it there until now: it stays in that room; 'taken', or 'ghost RECORD' if the holder's gateway
--          fell silent: its membership must be ended, and the name released for
--          it, before it can be claimed.  Generation 0 asks for a new one,
--          and only such a claim takes over from another gateway.
--          'wait' if this gateway has no lease now.
-- release  'ok GENERATION '; needs no lease, since it is done for the dead, too
-- forgo    frees a name that this gateway may hold for that session, whatever
--          its generation: 'ok 0 '
-- find     'found RECORD' or 'absent'
-- people   sets how many are in a room (the generation's field): 'ok 0 '
-- rooms    'rooms ROOM PEOPLE ROOM PEOPLE ...', as many as the generation's
--          field says, biggest first
-- Returns a list with one of these for each operation.

local names, clock, beats, holds, rooms, calls = unpack(KEYS)
local gateway, silent, retention = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if tonumber(ARGV[5]) < tonumber(redis.call('HGET', calls, ARGV[4]) or 0) then
  return redis.error_reply('STALE a later call came before this one')
end
local leased = redis.call('ZSCORE', beats, gateway)
local tick = tonumber(redis.call('HGET', clock, 'tick') or 0)
redis.call('HLEN', names)
redis.call('SCARD', holds)
redis.call('ZCARD', rooms)
redis.call('HSET', calls, ARGV[4], ARGV[5])

local function claim(folded, session, given, room, name)
  local record = redis.call('HGET', names, folded)
  local generation = given ~= '0' and given or nil
  local before = ''
  if record then
    local holder, its_session, its_generation, its_room =
      string.match(record, '^(%S+) (%S+) (%d+) (%S+) ')
    if its_session ~= session then
      local beat = redis.call('ZSCORE', beats, holder)
      if beat and tick - tonumber(beat) < silent then return 'taken' end
      return 'ghost ' .. record
    end
    if holder == gateway then
      generation = its_generation
    elseif generation then
      return 'taken'  -- it went on elsewhere, and its newer holder keeps it
    else
      before, generation, room = holder .. ' ' .. its_room, nil, its_room
    end
  end
  if not generation then
    generation = redis.call('HINCRBY', clock, 'generation', 1)
  elseif tonumber(generation) > tonumber(redis.call('HGET', clock, 'generation') or 0) then
    redis.call('HSET', clock, 'generation', generation)  -- a registry that was emptied
  end
  redis.call('HSET', names, folded, table.concat({gateway, session, generation, room, name}, ' '))
  redis.call('SADD', holds, folded)
  return 'ok ' .. generation .. ' ' .. before
end

local function release(folded, session, generation)
  local record = redis.call('HGET', names, folded)
  local mine = gateway .. ' ' .. session .. ' ' .. generation .. ' '
  if record and string.sub(record, 1, #mine) == mine then
    redis.call('HDEL', names, folded)
    record = nil
  end
  -- Another session of this gateway may hold the name by now.
  if not record or string.match(record, '^%S+') ~= gateway then
    redis.call('SREM', holds, folded)
  end
  return 'ok ' .. generation .. ' '
end

local function forgo(folded, session)
  local record = redis.call('HGET', names, folded)
  local mine = gateway .. ' ' .. session .. ' '
  if record and string.sub(record, 1, #mine) == mine then
    redis.call('HDEL', names, folded)
    redis.call('SREM', holds, folded)
  end
  return 'ok 0 '
end

local function find(folded)
  local record = redis.call('HGET', names, folded)
  local beat = record and redis.call('ZSCORE', beats, string.match(record, '^%S+'))
  if not beat or tick - tonumber(beat) >= silent then return 'absent' end
  return 'found ' .. record
end

local function set_people(room, people)
  if tonumber(people) > 0 then
    redis.call('ZADD', rooms, people, room)
  else
    redis.call('ZREM', rooms, room)
  end
  return 'ok 0 '
end

local results = {}
for i = 6, #ARGV, 6 do
  local verb, folded, session, generation, room, name = unpack(ARGV, i, i + 5)
  if verb == 'release' then
    results[#results + 1] = release(folded, session, generation)
  elseif verb == 'forgo' then
    results[#results + 1] = forgo(folded, session)
  elseif verb == 'find' then
    results[#results + 1] = find(folded)
  elseif verb == 'people' then
    results[#results + 1] = set_people(room, generation)
  elseif verb == 'rooms' then
    local found = redis.call('ZREVRANGE', rooms, 0, generation - 1, 'WITHSCORES')
    results[#results + 1] = 'rooms ' .. table.concat(found, ' ')
  elseif leased then
    results[#results + 1] = claim(folded, session, generation, room, name)
  else
    results[#results + 1] = 'wait'
  end
end
for _, key in ipairs(KEYS) do
  local ttl = redis.call('TTL', key)
  if ttl ~= -2 and ttl < retention / 2 then redis.call('EXPIRE', key, retention) end
end
return results
