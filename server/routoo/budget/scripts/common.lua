-- What every script starts with: the layout of the keys, and budgets that are read, changed in
-- memory and written at the end. Everything is read and checked before the first write, so that a
-- script that fails has changed nothing. Money is whole nano-USD, time whole microseconds.
--
-- KEYS  1 meta: hash; epoch, now, ahead, version
--       2 decisions: hash; id -> "state amount time booked scope"; state: o open, v overdrawn,
--         e and w the same expired, r reported, x cancelled; time: when it was decided; booked:
--         when it was written here; scope: its budgets, "name:step_us:steps" joined by commas
--       3 open: list of "booked id", oldest first: those that may have to expire
--       4 known: likewise, those whose time has passed and that are still remembered
-- ARGV  1 prefix of the budgets' keys   2 epoch that the caller knows, or empty
--       3 microseconds until an unreported decision expires
--       4 what it then counts, 1 its estimate or 0   5 most decisions to expire in this call
-- A budget is a hash: step, the latest that was seen; R, S, O, G: reserved, settled, overdraft and
-- granted over the steps that count; r<step>, s<step>, ...: the same of one step.
local meta_key, decisions_key, open_key, known_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, known_epoch, ttl_us = ARGV[1], ARGV[2], tonumber(ARGV[3])
local kept, most_expired = tonumber(ARGV[4]), tonumber(ARGV[5])
local WAITED_OUT_US = 60 * 1000000
local budgets, cache, puts, pushed = {}, {}, {}, {}
local moved, forgotten, dropped_open, dropped_known = {}, {}, 0, 0
local meta, now

local function text(n) return string.format('%.0f', n) end

local function number(key, field, value)
  if not value then return 0 end
  if not string.match(value, '^%-?%d+$') then error('GARBAGE ' .. key .. ' ' .. field) end
  return tonumber(value)
end

local function numbers(key, fields)
  local values = redis.call('HMGET', key, unpack(fields))
  for i, field in ipairs(fields) do values[i] = number(key, field, values[i]) end
  return values
end

-- The time, which never goes back: see routoo.budget.clock.
local function start()
  local epoch = redis.call('HGET', meta_key, 'epoch')
  local values = numbers(meta_key, {'now', 'ahead', 'version'})
  local time = redis.call('TIME')
  meta = {epoch = epoch, ahead = values[2], version = values[3]}
  now = time[1] * 1000000 + time[2] + meta.ahead
  if now < values[1] then
    if values[1] - now > WAITED_OUT_US then meta.ahead = meta.ahead + values[1] - now end
    now = values[1]
  end
  return known_epoch == '' or epoch == known_epoch
end

local function touch(budget, step)
  local found = budget.touched[step]
  if not found then
    local s = text(step)
    found = numbers(budget.key, {'r' .. s, 's' .. s, 'o' .. s, 'g' .. s})
    budget.touched[step] = found
  end
  return found
end

-- A budget by "name:step_us:steps", with the steps that no longer count taken out.
local function budget_of(suffix)
  local budget = budgets[suffix]
  if budget then return budget end
  local step_us, steps = string.match(suffix, '^[^:]+:(%d+):(%d+)$')
  if not step_us then error('GARBAGE ' .. decisions_key .. ' ' .. suffix) end
  local key = prefix .. suffix
  local values = numbers(key, {'step', 'R', 'S', 'O', 'G'})
  budget = {
    key = key, step_us = tonumber(step_us), steps = tonumber(steps), touched = {}, gone = {},
    total = {values[2], values[3], values[4], values[5]},
  }
  budget.step = math.floor(now / budget.step_us)
  if values[1] > 0 then
    local last = math.min(values[1], budget.step - budget.steps)
    for step = values[1] - budget.steps + 1, last do
      for i, amount in ipairs(touch(budget, step)) do
        budget.total[i] = budget.total[i] - amount
      end
      budget.touched[step] = nil
      local s = text(step)
      for _, letter in ipairs({'r', 's', 'o', 'g', 'b'}) do
        table.insert(budget.gone, letter .. s)
      end
    end
  end
  budgets[suffix] = budget
  return budget
end

local function book(scope, time, reserved, settled, overdraft, granted)
  local change = {reserved, settled, overdraft, granted}
  for suffix in string.gmatch(scope, '[^,]+') do
    local budget = budget_of(suffix)
    local step = math.floor(time / budget.step_us)
    if step > budget.step - budget.steps then
      local sums = touch(budget, step)
      for i = 1, 4 do
        sums[i] = sums[i] + change[i]
        budget.total[i] = budget.total[i] + change[i]
      end
    end
  end
end

local function parse(id, value)
  if not value then return nil end
  local state, amount, time, booked, scope = string.match(value, '^(%a) (%d+) (%d+) (%d+) (%S*)$')
  if not state then error('GARBAGE ' .. decisions_key .. ' ' .. id) end
  return {
    state = state, amount = tonumber(amount), time = tonumber(time), booked = booked, scope = scope,
  }
end

-- Per id its decision, or false. An id that was asked for before gives the same table, as changed.
local function decisions_of(ids)
  if #ids == 0 then return {} end
  local found = redis.call('HMGET', decisions_key, unpack(ids))
  for i, id in ipairs(ids) do
    cache[id] = cache[id] or parse(id, found[i])
    found[i] = cache[id] or false
  end
  return found
end

local function put(id, decision)
  puts[id] = decision.state .. ' ' .. text(decision.amount) .. ' ' .. text(decision.time) .. ' '
    .. decision.booked .. ' ' .. decision.scope
end

local function put_new(id, decision)
  decision.booked = text(now)
  put(id, decision)
  table.insert(pushed, decision.booked .. ' ' .. id)
end

-- The head of a list whose elements were booked at the horizon or before.
local function head(key, horizon, most)
  local first = redis.call('LINDEX', key, 0)
  if not first or tonumber(string.match(first, '^%d+') or error('GARBAGE ' .. key)) > horizon then
    return {}, {}
  end
  local elements, ids = redis.call('LRANGE', key, 0, most - 1), {}
  for i, element in ipairs(elements) do
    local booked, id = string.match(element, '^(%d+) (.+)$')
    if not booked then error('GARBAGE ' .. key .. ' ' .. element) end
    if tonumber(booked) > horizon then
      for j = #elements, i, -1 do elements[j] = nil end
      break
    end
    ids[i] = id
  end
  return elements, ids
end

local function expire()
  redis.call('HLEN', decisions_key) -- fails now, not between writes, if it is no hash
  local elements, ids = head(open_key, now - ttl_us, most_expired)
  for i, decision in ipairs(decisions_of(ids)) do
    if decision and (decision.state == 'o' or decision.state == 'v') then
      local counts = kept * decision.amount
      if decision.state == 'o' then
        book(decision.scope, decision.time, -decision.amount, counts, 0, 0)
        decision.state = 'e'
      else
        book(decision.scope, decision.time, 0, 0, counts - decision.amount, 0)
        decision.state = 'w'
      end
      decision.amount = counts
      put(ids[i], decision)
    end
  end
  moved, dropped_open = elements, #elements
  local old, gone = head(known_key, now - 2 * ttl_us, most_expired)
  forgotten, dropped_known = gone, #old
end

local function in_parts(command, key, values)
  for i = 1, #values, 4000 do
    redis.call(command, key, unpack(values, i, math.min(i + 3999, #values)))
  end
end

-- Writes everything, and returns the version of the books. The first write is one that a Redis
-- without memory refuses: after that nothing is refused any more in this script.
local function finish()
  meta.version = meta.version + 1
  redis.call('HSET', meta_key, 'epoch', meta.epoch, 'now', text(now), 'ahead', text(meta.ahead),
    'version', text(meta.version))
  for _, budget in pairs(budgets) do
    local fields = {'step', text(budget.step)}
    for i, letter in ipairs({'R', 'S', 'O', 'G'}) do
      table.insert(fields, letter)
      table.insert(fields, text(budget.total[i]))
    end
    for step, sums in pairs(budget.touched) do
      local s = text(step)
      for i, letter in ipairs({'r', 's', 'o', 'g'}) do
        table.insert(fields, letter .. s)
        table.insert(fields, text(sums[i]))
      end
    end
    redis.call('HSET', budget.key, unpack(fields))
    if #budget.gone > 0 then redis.call('HDEL', budget.key, unpack(budget.gone)) end
  end
  local fields = {}
  for id, value in pairs(puts) do
    table.insert(fields, id)
    table.insert(fields, value)
  end
  in_parts('HSET', decisions_key, fields)
  in_parts('RPUSH', open_key, pushed)
  if dropped_open > 0 then
    redis.call('LTRIM', open_key, dropped_open, -1)
    in_parts('RPUSH', known_key, moved)
  end
  if dropped_known > 0 then
    redis.call('LTRIM', known_key, dropped_known, -1)
    in_parts('HDEL', decisions_key, forgotten)
  end
  return text(meta.version)
end

-- The budgets of a call: count, then per budget its suffix; then how many scopes, and per scope
-- the places of its budgets among these, joined by commas.
local function scopes_from(at)
  local suffixes, scopes = {}, {}
  for i = 1, tonumber(ARGV[at]) do suffixes[i] = ARGV[at + i] end
  at = at + #suffixes + 1
  for i = 1, tonumber(ARGV[at]) do
    local names = {}
    for place in string.gmatch(ARGV[at + i], '%d+') do
      table.insert(names, suffixes[tonumber(place)])
    end
    scopes[i] = table.concat(names, ',')
  end
  return suffixes, scopes, at + #scopes + 1
end

local function totals(suffixes)
  local reply = {}
  for i, suffix in ipairs(suffixes) do
    local budget = budget_of(suffix)
    reply[i] = {
      text(budget.total[1]), text(budget.total[2]), text(budget.total[3]), text(budget.total[4]),
      text(budget.step),
    }
  end
  return reply
end

if not start() then return {'LOST', meta.epoch or ''} end
