"""What Redis does in one step, as Lua: a gateway that dies leaves no job between two states.

Keys are always `queue`, `ends`, `sizes` and `job:ID` (or its prefix), in this order. Those scripts that free more than
they take run even where Redis has no memory left (flag allow-oom, Redis 7 or Valkey).
"""

from __future__ import annotations

from typing import Final

_FREES: Final = "#!lua flags=allow-oom\n"
_SHARED: Final = """
local queue, ends, sizes, job = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function integer(text)
  return type(text) == 'string' and #text <= 15 and text:match('^%d+$') ~= nil
end

local function count(owner, jobs, bytes)
  for field, change in pairs({
    [':jobs'] = jobs, [':bytes'] = bytes, [owner .. ':jobs'] = jobs, [owner .. ':bytes'] = bytes,
  }) do
    local left = redis.pcall('HINCRBY', sizes, field, change)
    -- A count that is none begins anew.
    if type(left) ~= 'number' or left <= 0 then redis.call('HDEL', sizes, field) end
  end
end

local function forget_expired()
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)) do
    local id, owner, size = member:match('^(%S+) (%S+) (%S+)$')
    redis.call('ZREM', ends, member)
    if id and integer(size) then
      redis.call('ZREM', queue, id)
      count(owner, -1, -size)
    end
  end
end

local function keep(id, owner, size, expires)
  local member = id .. ' ' .. owner .. ' ' .. size
  redis.call('ZADD', ends, expires, member)
  redis.call('HSET', job, 'member', member, 'expires', expires)
  redis.call('PEXPIREAT', job, expires)
  count(owner, 1, size)
end

local function settle(id, state, result)
  local known = redis.call('HMGET', job, 'member', 'owner', 'ttl')
  local _, owner, size = known[1]:match('^(%S+) (%S+) (%S+)$')
  redis.call('ZREM', ends, known[1])
  redis.call('ZREM', queue, id)
  redis.call('HDEL', job, 'work')
  redis.call('HSET', job, 'state', state, 'result', result)
  count(owner, -1, -size)
  keep(id, owner, #result + tonumber(ARGV[1]), now + known[3])
end
"""
# Every script has as its first argument the bytes that Redis takes for a job besides what lies in it.

SUBMIT: Final = (
    _SHARED
    + """
local id, owner, work, ttl, wait = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local once, digest, prefix = KEYS[5], ARGV[11], ARGV[12]
forget_expired()
if digest ~= '' then
  local known = redis.call('GET', once)
  if known then
    local earlier, what = known:match('^(%S+) (%S+)$')
    if redis.call('EXISTS', prefix .. earlier) == 1 then
      if what ~= digest then return {'other', ''} end
      return {'known', earlier}
    end
  end
end
local size = #work + tonumber(ARGV[1])
local held = redis.call('HMGET', sizes, ':jobs', ':bytes', owner .. ':jobs', owner .. ':bytes')
local function used(index) return integer(held[index]) and tonumber(held[index]) or 0 end
if used(1) + 1 > tonumber(ARGV[7]) or used(2) + size > tonumber(ARGV[8]) then return {'full', ''} end
if used(3) + 1 > tonumber(ARGV[9]) or used(4) + size > tonumber(ARGV[10]) then return {'share', ''} end
redis.call('HSET', job, 'state', 'queued', 'owner', owner, 'ttl', ttl, 'submitted', now, 'until', now + wait,
  'turn', 0, 'lost', 0, 'tries', 0, 'work', work)
keep(id, owner, size, now + wait + ttl)
redis.call('ZADD', queue, now, id)
if digest ~= '' then redis.call('SET', once, id .. ' ' .. digest, 'PX', wait + ttl) end
return {'new', id}
"""
)
"""Returns what became of it and the job's id: new, known, other (the key stands for another image), full, share."""

CANCEL: Final = (
    _FREES
    + _SHARED
    + """
local known = redis.call('HMGET', job, 'owner', 'state')
if known[1] ~= ARGV[3] then return 'unknown' end
if known[2] ~= 'queued' and known[2] ~= 'running' then return known[2] end
settle(ARGV[2], 'cancelled', '')
return 'done'
"""
)
"""Returns done, unknown, or the state of a job that had finished before."""

TAKE: Final = (
    _FREES
    + _SHARED
    + """
local prefix, lease, most_lost = KEYS[4], ARGV[2], tonumber(ARGV[3])
local function whole(known)
  for _, index in ipairs({2, 3, 4, 5, 7, 8}) do
    if not integer(known[index]) then return false end
  end
  local size = (known[9] or ''):match('^%S+ %S+ (%S+)$')
  return (known[1] == 'queued' or known[1] == 'running') and integer(size)
end
forget_expired()
local id = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, 1)[1]
if not id then return false end
job = prefix .. id
local known = redis.pcall('HMGET', job, 'state', 'until', 'lost', 'submitted', 'tries', 'work', 'turn', 'ttl', 'member')
if known[1] == false then
  redis.call('ZREM', queue, id)
  return {'gone'}
end
if known.err or not whole(known) then
  redis.call('ZREM', queue, id)
  redis.call('DEL', job)
  return {'damaged', id}
end
if now > tonumber(known[2]) then
  settle(id, 'expired', '')
  return {'expired'}
end
local lost = tonumber(known[3])
if known[1] == 'running' then
  lost = redis.call('HINCRBY', job, 'lost', 1)
  if lost > most_lost then
    settle(id, 'lost', '')
    return {'lost'}
  end
end
redis.call('HSET', job, 'state', 'running')
redis.call('ZADD', queue, now + lease, id)
return {'taken', id, redis.call('HINCRBY', job, 'turn', 1), lost, tonumber(known[5]), now - known[4], known[6]}
"""
)
"""Returns nil where nothing waits; else what became of the first: gone, damaged with its id (it cannot be read, and is
removed), expired, lost, or taken with its id, its turn, how often it was lost and tried again, how many milliseconds it
is old, and the work."""

FINISH: Final = (
    _FREES
    + _SHARED
    + """
local known = redis.call('HMGET', job, 'state', 'turn')
if known[1] ~= 'running' or known[2] ~= ARGV[3] then return 0 end
settle(ARGV[2], ARGV[4], ARGV[5])
return 1
"""
)
"""Returns whether the job was still this worker's."""

PUT_BACK: Final = (
    _FREES
    + _SHARED
    + """
local known = redis.call('HMGET', job, 'state', 'turn')
if known[1] ~= 'running' or known[2] ~= ARGV[3] then return 0 end
redis.call('HSET', job, 'state', 'queued')
redis.call('HINCRBY', job, 'tries', ARGV[5])
redis.call('ZADD', queue, now + ARGV[4], ARGV[2])
return 1
"""
)
"""Returns whether the job was still this worker's."""
