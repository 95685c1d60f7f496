-- Claims and releases names for one gateway; no name is held twice.
--
-- KEYS  1 names  hash: folded name -> "GATEWAY SESSION GENERATION ROOM NAME"
--       2 clock  hash: tick, at, generation
--       3 beats  sorted set: gateway -> the tick of its last beat
--       4 holds  set of this gateway: the folded names it may hold
--       5 rooms  sorted set: room -> how many people are in it
--       6 calls  hash: calling gateway -> the number of its last call
--       7 sessions  hash: session -> the folded name that it claimed last; behind that
--                   "GATEWAY GENERATION", if that claim took it from who has not let go of it
-- ARGV  1 gateway  2 silent ticks  3 retention s  4 calling gateway  5 number of this call
--       then, for each operation, 6 fields:
--       verb, folded name, session, generation, room, name
--
-- Each call has a number greater than the last one's, also one that repeats what was
-- not answered: the first attempt, if it was stuck on a dead connection and arrives
-- late, must not claim again what has been released since.
--
-- Verbs:
-- claim    'ok GENERATION ROOM NAME', 'taken', 'ghost FOLDED RECORD' if the holder's
--          gateway fell silent: its membership must be ended, and the name released
--          for it, before it can be claimed; 'wait' if this gateway has no lease now.
--          With generation 0 a session comes, or comes again: if it holds a name, on
--          whatever gateway, it gets that one, in the room and spelling that stand
--          there, and a new generation unless this gateway had it: so a repeat,
--          after an answer that was lost, gets the same answer.
--          With a generation of its own it is here already: this sets room and
--          spelling, or adds a second name; 'taken', too, if it went on elsewhere,
--          or came here again since.
-- release  frees a name that exactly this holder has: 'done'; needs no lease, since
--          it is done for the dead, too
-- held     'ghost FOLDED RECORD' if this gateway's session has the name by a claim for a
--          second one, or 'absent'
-- forgo    gives up what the claim of a session that came has brought this gateway: 'ghost
--          FOLDED RECORD' of that, to be ended and released, or 'absent' if it was not done,
--          if the session is here by an earlier claim, with this generation, or if who had
--          it before lives and has it again
-- find     'found RECORD' or 'absent'
-- people   sets how many are in a room (the generation's field): 'done'
-- rooms    'rooms ROOM PEOPLE ROOM PEOPLE ...', as many as the generation's
--          field says, biggest first
-- Returns a list with one of these for each operation.

local names, clock, beats, holds, rooms, calls, sessions = unpack(KEYS)
local gateway, silent, retention = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if tonumber(ARGV[5]) <= tonumber(redis.call('HGET', calls, ARGV[4]) or 0) then
  return redis.error_reply('STALE a later call came before this one')
end
local leased = redis.call('ZSCORE', beats, gateway)
local tick = tonumber(redis.call('HGET', clock, 'tick') or 0)
redis.call('HLEN', names)
redis.call('SCARD', holds)
redis.call('ZCARD', rooms)
redis.call('HLEN', sessions)
redis.call('HSET', calls, ARGV[4], ARGV[5])

-- Who has a name, or nil.
local function look_up(folded)
  local record = redis.call('HGET', names, folded)
  if not record then return nil end
  local holder, session, generation, room, name =
    string.match(record, '^(%S+) (%S+) (%d+) (%S+) (%S+)$')
  if not holder then return nil end  -- nobody's: somebody else wrote it
  return {
    record = record, folded = folded, here = holder == gateway, gateway = holder,
    session = session, generation = tonumber(generation), room = room, name = name,
  }
end

local function lives(gateway_id)
  local beat = redis.call('ZSCORE', beats, gateway_id)
  return beat and tick - tonumber(beat) < silent
end

-- What a session claimed last, and from which gateway and generation it came with that.
local function last_claim(session)
  local claimed = redis.call('HGET', sessions, session)
  if not claimed then return nil end
  local folded, before, generation = string.match(claimed, '^(%S+) (%S+) (%d+)$')
  return folded or claimed, before, tonumber(generation)
end

-- The name that a session has: what it claimed last, else what it asks for; or nil.
local function held_by(session, last, asked)
  local held = last and look_up(last)
  if held and held.session == session then return held end
  return asked and asked.session == session and asked or nil
end

local function ghost(found)
  return table.concat({'ghost', found.folded, found.record}, ' ')
end

local function set_holder(folded, holder, session, generation, room, name)
  local record = {holder, session, generation, room, name}
  redis.call('HSET', names, folded, table.concat(record, ' '))
end

local function claim(folded, session, generation, room, name)
  if not leased then return 'wait' end
  local found = look_up(folded)
  local last, before, its_generation = last_claim(session)
  local held = held_by(session, last, found)
  local comes, claimed = generation == 0, folded
  if held and comes then
    -- The holds of the gateway that had it may go on listing it: records are what counts.
    folded, room, name = held.folded, held.room, held.name
    if held.here then
      generation = held.generation
    else
      before, its_generation = held.gateway, held.generation
    end
    claimed = before and table.concat({folded, before, its_generation}, ' ') or folded
  elseif held and (held.generation > generation
                   or held.generation == generation and not held.here) then
    return 'taken'
  elseif found and found.session ~= session then
    return lives(found.gateway) and 'taken' or ghost(found)
  end
  if generation == 0 then
    generation = redis.call('HINCRBY', clock, 'generation', 1)
  elseif generation > tonumber(redis.call('HGET', clock, 'generation') or 0) then
    redis.call('HSET', clock, 'generation', generation)  -- a registry that was emptied
  end
  set_holder(folded, gateway, session, generation, room, name)
  redis.call('SADD', holds, folded)
  redis.call('HSET', sessions, session, claimed)
  return table.concat({'ok', generation, room, name}, ' ')
end

local function release(folded, session, generation)
  local found = look_up(folded)
  local last, before, its_generation = last_claim(session)
  if found and found.here and found.session == session and found.generation == generation then
    redis.call('HDEL', names, folded)
    -- After a new name was claimed it is the old one that is freed.
    if last == folded then redis.call('HDEL', sessions, session) end
    found = nil
  elseif last == folded and before == gateway and its_generation == generation then
    redis.call('HSET', sessions, session, last)  -- it went on, and will not come back
  end
  -- Another session of this gateway may hold the name by now.
  if not (found and found.here) then redis.call('SREM', holds, folded) end
  return 'done'
end

local function brought(folded, session)
  local found = look_up(folded)
  return found and found.here and found.session == session and ghost(found) or 'absent'
end

local function forgo(folded, session, generation)
  local last, before, its_generation = last_claim(session)
  local found = held_by(session, last, look_up(folded))
  if not (found and found.here) then
    if before == gateway then redis.call('HSET', sessions, session, last) end
    return 'absent'
  end
  if found.generation == generation then return 'absent' end
  if not (before and lives(before)) then return ghost(found) end
  set_holder(found.folded, before, session, its_generation, found.room, found.name)
  redis.call('HSET', sessions, session, found.folded)
  redis.call('SREM', holds, found.folded)  -- that gateway's still list it
  return 'absent'
end

local function find(folded)
  local found = look_up(folded)
  return found and lives(found.gateway) and 'found ' .. found.record or 'absent'
end

local function set_people(_, _, people, room)
  if people > 0 then
    redis.call('ZADD', rooms, people, room)
  else
    redis.call('ZREM', rooms, room)
  end
  return 'done'
end

local function list_rooms(_, _, most)
  return 'rooms ' .. table.concat(redis.call('ZREVRANGE', rooms, 0, most - 1, 'WITHSCORES'), ' ')
end

local verbs = {
  claim = claim, release = release, held = brought, forgo = forgo,
  find = find, people = set_people, rooms = list_rooms,
}
local results = {}
for i = 6, #ARGV, 6 do
  local verb, folded, session, generation, room, name = unpack(ARGV, i, i + 5)
  results[#results + 1] = verbs[verb](folded, session, tonumber(generation), room, name)
end
for _, key in ipairs(KEYS) do
  local ttl = redis.call('TTL', key)
  if ttl ~= -2 and ttl < retention / 2 then redis.call('EXPIRE', key, retention) end
end
return results
