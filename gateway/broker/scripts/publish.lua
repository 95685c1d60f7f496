-- Applies one numbered batch of one gateway to one room, and publishes it.
--
-- KEYS  1 meta   hash: epoch, offset (the last one), renew_at (s, of the keys' lives), and
--                for each gateway "batch GATEWAY" -> "NUMBER AT_S REPLY" of its last batch
--       2 log    stream OFFSET-0: line
--       3 history  list of lines, of what people said only
--       4 members  hash: session -> "GATEWAY GENERATION NAME"
-- ARGV  1 batch number  2 epoch it is meant for ('': any)  3 channel  4 gateway
--       5 log length  6 history length  7 retention s  8 batch memory s
--       9 refs prefix: with a session behind it, the key of a stream REF-0: offset
--       10 refs kept of each session  11 refs seconds
--       then, for each operation, 6 fields:
--       verb, session, its membership once this is done, ref ('0': none),
--       how many ms ago it was accepted, body
--
-- Verbs: say (a member speaks), join (becomes a member; an older generation of
-- the same session is taken over without an event), keep (the same, never with
-- an event), leave, rename, post (appends, whoever it is: for the log of a
-- gateway's inbox, which has no members).  Say, leave and rename need the
-- membership to be held by exactly that gateway and generation.  An older one
-- of the same session can be left, too: it went on, and ends where it never came.
-- Who leaves is named as the room knows it, in the body's member "name".
--
-- Returns 'epoch' if the room's log is another one, else, for each operation,
-- separated by blanks: the event's offset, 0 if refused, -OFFSET if done without an
-- event, behind that one, ~OFFSET:GATEWAY if so and the membership was that other
-- gateway's until now, =OFFSET if the session said this ref before, at that offset,
-- ? if it may have (the ref is older than its newest, and not among those kept).
-- A repeated batch number changes nothing and returns the first reply.

local meta, log, history, members = unpack(KEYS)
local number, wanted, channel, gateway = unpack(ARGV, 1, 4)

-- A call costs more than what it asks for: this is one, and so is what is written at the end.
local record = 'batch ' .. gateway
local epoch, offset, renew_at, last =
  unpack(redis.call('HMGET', meta, 'epoch', 'offset', 'renew_at', record))

if last then
  local last_number, reply = string.match(last, '^(%d+) %d+ (.*)$')
  if last_number == number then return reply end
  if tonumber(last_number) > tonumber(number) then
    -- It was stuck on a dead connection, and answered on another one long ago.
    return redis.error_reply('STALE a later batch came before this one')
  end
end

if not epoch or (wanted ~= '' and wanted ~= epoch) then return 'epoch' end
offset = tonumber(offset)

-- Lua does not roll back: whatever can fail fails here, before the first write.
-- Not the members: an operation looks among them before it does anything.
local logged, remembered = redis.call('XLEN', log), redis.call('LLEN', history)
for i = 12, #ARGV, 6 do
  if ARGV[i + 3] ~= '0' then redis.call('XLEN', ARGV[9] .. ARGV[i + 1]) end
end

local made = false  -- a key that had no life yet
local retention, batch_memory = tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now_s, now_ms = tonumber(time[1]), time[1] * 1000 + math.floor(time[2] / 1000)
local by = gateway .. ' ' .. number .. ' '
local lines, said, results = {}, {}, {}

local function append(index, body, age, spoken)
  offset = offset + 1
  -- An event bears the time at which it was accepted, by this clock.
  local at = string.format('%.0f', now_ms - age)
  local line = offset .. ' ' .. epoch .. ' ' .. at .. ' ' .. by .. index .. ' ' .. body
  redis.call('XADD', log, 'MAXLEN', '~', ARGV[5], offset .. '-0', 'e', line)
  if spoken then said[#said + 1] = line end
  lines[#lines + 1] = line
end

-- What to answer to a ref that is not to be said now; nil if it is.
local function said_before(refs, ref)
  local said_at = redis.call('XRANGE', refs, ref .. '-0', ref .. '-0')[1]
  if said_at then return '=' .. said_at[2][2] end
  local newest = redis.call('XREVRANGE', refs, '+', '-', 'COUNT', 1)[1]
  if not newest then return nil end
  newest = string.match(newest[1], '^%d+')
  -- As strings: a Lua number holds 53 bits, and a ref can have 63.
  local grew = #ref > #newest or #ref == #newest and ref > newest
  return not grew and '?' or nil
end

-- Who says several things in one batch is looked up once.
local known = {}

local function membership_of(session)
  if known[session] == nil then
    known[session] = redis.call('HGET', members, session)
  end
  return known[session]
end

local function set_membership(session, membership)
  known[session] = membership
  if membership then
    made = redis.call('HSET', members, session, membership) == 1 or made
  else
    redis.call('HDEL', members, session)
  end
end

local function apply(index, verb, session, membership, ref, age, body)
  local refs = ref ~= '0' and ARGV[9] .. session
  if refs then
    local answer = said_before(refs, ref)
    if answer then return answer end
  end
  local member = membership_of(session)
  -- Nearly all that happens is said by who holds the membership, to the letter.
  if verb ~= 'say' or member ~= membership then
    local holder, generation = string.match(membership, '^(%S+) (%d+) ')
    local its_gateway, its_generation, its_name =
      string.match(member or '', '^(%S+) (%d+) (.*)$')
    local ahead = tonumber(its_generation or generation) - tonumber(generation)
    local mine = ahead == 0 and its_gateway == holder
    if verb == 'join' or verb == 'keep' then
      if ahead > 0 then return 0 end
      set_membership(session, membership)
      if member and its_gateway ~= holder then return '~' .. offset .. ':' .. its_gateway end
      if member or verb == 'keep' then return '-' .. offset end
    elseif verb == 'leave' then
      if not mine and ahead >= 0 then return 0 end
      set_membership(session, false)
      -- Who ends another one's may know a name that the room was not told of, or not any more.
      -- By a function: in a text that somebody else wrote a % would be a capture's, and fail.
      body = string.gsub(body, '"name":"[^"]*"', function() return '"name":"' .. its_name .. '"' end)
    elseif verb ~= 'post' then
      if not mine then return 0 end
      if verb == 'rename' then set_membership(session, membership) end
    end
  end
  append(index, body, age, verb == 'say')
  if refs then
    redis.call('XADD', refs, 'MAXLEN', ARGV[10], ref .. '-0', 'o', offset)
    redis.call('EXPIRE', refs, ARGV[11])
  end
  return offset
end

for i = 12, #ARGV, 6 do
  results[#results + 1] = apply(#results, unpack(ARGV, i, i + 5))
end

-- What Lua unpacks at once is bounded.
for i = 1, #said, 1000 do
  redis.call('RPUSH', history, unpack(said, i, math.min(i + 999, #said)))
end
if remembered + #said > 2 * ARGV[6] then redis.call('LTRIM', history, -ARGV[6], -1) end
local reply = table.concat(results, ' ')
redis.call('HSET', meta, 'offset', offset, record, table.concat({number, now_s, reply}, ' '))

-- A room's keys live and expire together; meta must not keep batches of gateways that are gone.
local due = now_s >= tonumber(renew_at or 0)
if due then
  local fields = redis.call('HGETALL', meta)
  for i = 1, #fields, 2 do
    local at = string.match(fields[i], '^batch ') and string.match(fields[i + 1], ' (%d+)')
    if at and now_s - tonumber(at) > batch_memory then redis.call('HDEL', meta, fields[i]) end
  end
  redis.call('HSET', meta, 'renew_at', now_s + math.floor(retention / 2))
end
made = made or (logged == 0 and #lines > 0) or (remembered == 0 and #said > 0)
if made or due then
  for k = 1, 4 do redis.call('EXPIRE', KEYS[k], retention) end
end

if #lines > 0 then redis.call('PUBLISH', channel, table.concat(lines, '\n')) end
return reply
