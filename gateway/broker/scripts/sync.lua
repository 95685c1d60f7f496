-- Reads where a room's log stands, and what a gateway lacks of it.
--
-- KEYS  1 meta  2 log  3 history  4 members   (as in publish.lua)
-- ARGV  1 the epoch the gateway knows ('' if none)  2 the last offset it knows
--       3 how many lines to read  4 how many lines of history to read
--       5 retention s  6 the epoch of a new log, if there is none, or '' to make none
--       7 '1' if the members are wanted in any case
--
-- Returns {epoch, last offset, people, the line at the offset known or '',
--          lines after it, members, history, the line at the last offset or ''}.
-- To one that knows no epoch, lines are empty; to one that knows another one,
-- they start at the first.  Who may make the log serves the room: it gets members
-- and history also if it does not know this epoch, and no history without members.

local meta, log, history, members = unpack(KEYS)
local known, from = ARGV[1], ARGV[2]
local retention = tonumber(ARGV[5])

local epoch = redis.call('HGET', meta, 'epoch')
if not epoch then
  if ARGV[6] == '' then return {'', 0, 0, '', {}, {}, {}, ''} end
  epoch = ARGV[6]
  redis.call('DEL', log, history, members)
  redis.call('HSET', meta, 'epoch', epoch, 'offset', 0)
end
if redis.call('TTL', meta) < retention / 2 then
  for k = 1, 4 do redis.call('EXPIRE', KEYS[k], retention) end
end

local function lines(entries)
  local found = {}
  for i, entry in ipairs(entries) do found[i] = entry[2][2] end
  return found
end

local at_known, missing, people, remembered = '', {}, {}, {}
if known ~= '' then
  if known ~= epoch then from = '0' end
  local entries = redis.call('XRANGE', log, from .. '-0', '+', 'COUNT', ARGV[3] + 1)
  missing = lines(entries)
  if entries[1] and entries[1][1] == from .. '-0' then at_known = table.remove(missing, 1) end
end
local serves = ARGV[6] ~= ''
local wanted = ARGV[7] == '1' or (serves and known ~= epoch)
if wanted then people = redis.call('HGETALL', members) end
if tonumber(ARGV[4]) > 0 and (wanted or not serves) then
  remembered = redis.call('LRANGE', history, -ARGV[4], -1)
end
local offset = redis.call('HGET', meta, 'offset')
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local at_last = last and last[1] == offset .. '-0' and last[2][2] or ''
return {
  epoch, tonumber(offset), redis.call('HLEN', members),
  at_known, missing, people, remembered, at_last,
}
