-- What every script starts with: the layout of the keys, and budgets that are read, changed in
-- memory and written at the end. Everything is read and checked before the first write, so that a
-- script that fails has changed nothing. Money is whole nano-USD, time whole microseconds.
--
-- KEYS  1 meta: hash; epoch, now, ahead; version: "format:calls", the format of the books and the
--         number of calls that they have had; silent: microseconds in which nobody called, which do
--         not count towards the end of a lease; w:<replica>: number of its latest call;
--         awaiting: "until whether-a-period-longer name name ...", see restore.lua
--       2 decisions: hash; id -> "state amount time booked scope"; state: o open, v overdrawn,
--         e and w the same expired, r reported, x cancelled; time: when it was decided; booked:
--         when it was written here; scope: its budgets, "name:step_us:steps" joined by commas,
--         with = in front of those that refuse: they have no overdraft, it counts as settled
--       3 open: list of "booked id", oldest first: those that may have to expire
--       4 known: list of "booked id", oldest first: those that have expired and are still remembered
-- ARGV  1 prefix of the budgets' keys   2 epoch that the caller knows, or empty
--       3 microseconds until an unreported decision expires
--       4 what it then counts, 1 its estimate or 0   5 most decisions to expire in this call
--       6 the calling replica   7 number of this call of it   8 number of its latest call of which it
--       has the answer: books that do not know that call are an older state of themselves
-- A budget is a hash: step, the latest that was seen; R, S, O, G: reserved, settled, overdraft and
-- granted over the steps that count; r<step>, s<step>, ...: the same of one step; of one step alone,
-- m<step>, n<step>, u<step>: reported costs of those granted, what was reserved for the same, and how
-- many of those granted expired unreported; l:<replica>: its lease, "amount expiry until"; L: the sum
-- of all leases; b: see restore.lua.
-- A day (UTC) is a hash "<prefix without budget:>day:<days since 1970>": <letter> <scope>, letters
-- as above; it is kept for DAYS_KEPT.
local meta_key, decisions_key, open_key, known_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, known_epoch, ttl_us = ARGV[1], ARGV[2], tonumber(ARGV[3])
local kept, most_expired = tonumber(ARGV[4]), tonumber(ARGV[5])
local replica, call, answered = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local WAITED_OUT_US, SILENT_US = 60 * 1000000, 10 * 1000000
-- Format 1 knew no leases, and had the number of calls alone. Its scripts fail at this version.
local FORMAT = 2
local DAY_US, DAYS_KEPT = 86400 * 1000000, 400
local budgets, cache, puts, pushed, days, told = {}, {}, {}, {}, {}, {}
local moved, forgotten, dropped_open, dropped_known = {}, {}, 0, 0
local meta, now, now_text, lease_now

local function text(n) return string.format('%.0f', n) end

local function number(key, field, value)
  if not value then return 0 end
  if not string.match(value, '^%-?%d+$') then error('GARBAGE ' .. key .. ' ' .. field) end
  return tonumber(value)
end

-- The number of calls; or nil, and the format that the books have instead.
local function version_of(value)
  if not value then return 0 end
  local format, calls = string.match(value, '^(%d+):(%d+)$')
  if tonumber(format) == FORMAT then return tonumber(calls) end
  if not format and not string.match(value, '^%d+$') then error('GARBAGE ' .. meta_key .. ' version') end
  return nil, tonumber(format) or 1, tonumber(value)
end

-- The time, which never goes back: see routoo.budget.memory.ledger. Returns what is wrong with the books.
local function start()
  local values = redis.call(
    'HMGET', meta_key, 'epoch', 'now', 'ahead', 'version', 'silent', 'awaiting', 'w:' .. replica)
  local last = number(meta_key, 'now', values[2])
  local ahead = number(meta_key, 'ahead', values[3])
  local version, format, calls = version_of(values[4])
  meta = {
    epoch = values[1], was = values[1], ahead = ahead, ahead_was = ahead,
    version = version,
    silent = number(meta_key, 'silent', values[5]), awaiting = values[6] or '',
    latest = number(meta_key, 'w:' .. replica, values[7]),
  }
  meta.silent_was, meta.awaiting_was = meta.silent, meta.awaiting
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2] + ahead
  if now < last then
    if last - now > WAITED_OUT_US then meta.ahead = ahead + last - now end
    now = last
  elseif last > 0 and now - last > SILENT_US then
    -- All replicas are cut off, or the clock was put forward: nobody can tell which.
    meta.silent = meta.silent + now - last - SILENT_US
  end
  now_text, lease_now = text(now), now - meta.silent
  if format then
    -- Replicas that write format 1 call each second. When they are gone, their books go on here.
    if format > 1 or now - last < SILENT_US then return {'FORMAT', text(format)} end
    meta.version = calls
  end
  if known_epoch ~= '' and (meta.epoch ~= known_epoch or meta.latest < answered) then
    return {'LOST', meta.epoch or ''}
  end
end

-- Whether replicas have still to tell what they know of a budget that was lost.
local function waits(budget)
  local till, longer, names = string.match(meta.awaiting, '^(%d+) ([01]) (%S.*)$')
  if not names then return false end
  return lease_now < tonumber(till) + tonumber(longer) * budget.steps * budget.step_us
end

local function lease_of(key, field, value)
  if not value then return nil end
  local amount, expiry, till = string.match(value, '^(%d+) (%d+) (%d+)$')
  if not amount then error('GARBAGE ' .. key .. ' ' .. field) end
  return {amount = tonumber(amount), expiry = tonumber(expiry), till = tonumber(till)}
end

-- What is held in a step: r, s, o, g, and then the same as they are in Redis.
local function held(key, fields, values, from)
  local found = {}
  for i = 1, 4 do
    found[i] = number(key, fields[from + i - 1], values[from + i - 1])
    found[i + 4] = found[i]
  end
  return found
end

local function touch(budget, step)
  local found = budget.touched[step]
  if not found then
    local s = text(step)
    local fields = {'r' .. s, 's' .. s, 'o' .. s, 'g' .. s}
    found = held(budget.key, fields, redis.call('HMGET', budget.key, unpack(fields)), 1)
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
  step_us, steps = tonumber(step_us), tonumber(steps)
  local step = math.floor(now / step_us)
  local s = text(step)
  local fields = {
    'R', 'S', 'O', 'G', 'r' .. s, 's' .. s, 'o' .. s, 'g' .. s, 'step', 'L', 'l:' .. replica,
  }
  local values = redis.call('HMGET', key, unpack(fields))
  budget = {
    key = key, step_us = step_us, steps = steps, step = step,
    step_was = number(key, 'step', values[9]), total = held(key, fields, values, 1),
    touched = {[step] = held(key, fields, values, 5)}, gone = {},
    leased = number(key, 'L', values[10]), own = lease_of(key, fields[11], values[11]),
  }
  budget.leased_was = budget.leased
  if budget.step_was > 0 then
    local last = math.min(budget.step_was, step - steps)
    for old = budget.step_was - steps + 1, last do
      local sums = touch(budget, old)
      for i = 1, 4 do budget.total[i] = budget.total[i] - sums[i] end
      budget.touched[old] = nil
      local o = text(old)
      for _, letter in ipairs({'r', 's', 'o', 'g', 'm', 'n', 'u'}) do
        table.insert(budget.gone, letter .. o)
      end
    end
  end
  budgets[suffix] = budget
  return budget
end

local function set_lease(budget, amount, expiry, till)
  budget.leased = budget.leased + amount - (budget.own and budget.own.amount or 0)
  budget.own = {amount = amount, expiry = expiry, till = till}
  budget.own_is_new = true
end

local function raise(sums, key, field, change)
  if change == 0 then return end
  sums[key] = sums[key] or {}
  sums[key][field] = (sums[key][field] or 0) + change
end

-- Changes the sums of budgets by r, s, o, g, and those that are kept by step alone.
local function book_in(scope, time, change, reported)
  local spent = {change[1], change[2] + change[3], 0, change[4]}
  for strict, suffix in string.gmatch(scope, '(=?)([^,=]+)') do
    local budget = budget_of(suffix)
    local step = math.floor(time / budget.step_us)
    if step > budget.step - budget.steps then
      local sums, own = touch(budget, step), strict == '=' and spent or change
      for i = 1, 4 do
        sums[i] = sums[i] + own[i]
        budget.total[i] = budget.total[i] + own[i]
      end
      for i, letter in ipairs({'m', 'n', 'u'}) do
        raise(told, budget.key, letter .. text(step), reported[i])
      end
    end
  end
end

-- The same, and the sums of the day. Of m, n and u none is needed.
local function book(scope, time, reserved, settled, overdraft, granted, m, n, u)
  local change, reported = {reserved, settled, overdraft, granted}, {m or 0, n or 0, u or 0}
  book_in(scope, time, change, reported)
  local key = string.gsub(prefix, 'budget:$', 'day:') .. text(math.floor(time / DAY_US))
  for i, letter in ipairs({'r', 's', 'o', 'g'}) do
    raise(days, key, letter .. ' ' .. scope, change[i])
  end
  for i, letter in ipairs({'m', 'n', 'u'}) do
    raise(days, key, letter .. ' ' .. scope, reported[i])
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
  decision.booked = now_text
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

local function expire(looking)
  local elements, ids = head(open_key, now - ttl_us, most_expired)
  for i, decision in ipairs(decisions_of(ids)) do
    if decision and (decision.state == 'o' or decision.state == 'v') then
      local counts = kept * decision.amount
      if decision.state == 'o' then
        book(decision.scope, decision.time, -decision.amount, counts, 0, 0, 0, 0, 1)
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
  -- Also read before it is written to, so that it fails now if it is not ours.
  if dropped_open > 0 or looking then
    local old, gone = head(known_key, now - 2 * ttl_us, 2 * most_expired)
    forgotten, dropped_known = gone, #old
  end
end

local function in_parts(command, key, values)
  for i = 1, #values, 4000 do
    redis.call(command, key, unpack(values, i, math.min(i + 3999, #values)))
  end
end

local function add_changes(fields, letters, sums, suffix)
  for i = 1, 4 do
    if sums[i] ~= sums[i + 4] then
      table.insert(fields, letters[i] .. suffix)
      table.insert(fields, text(sums[i]))
    end
  end
end

-- Per key of the sums that are raised, fields and their new values. Reads only.
local function raised()
  local found = {}
  for _, sums in ipairs({told, days}) do
    for key, changes in pairs(sums) do
      local fields = {}
      for field, _ in pairs(changes) do table.insert(fields, field) end
      local values = redis.call('HMGET', key, unpack(fields))
      found[key] = {}
      for i, field in ipairs(fields) do
        table.insert(found[key], field)
        table.insert(found[key], text(number(key, field, values[i]) + changes[field]))
      end
    end
  end
  return found
end

-- Writes everything, and returns the version of the books. The first write is one that a Redis
-- without memory refuses: after that nothing is refused any more in this script.
local function finish()
  local raised_fields = raised()
  meta.version = meta.version + 1
  local version = text(meta.version)
  local stored = text(FORMAT) .. ':' .. version
  local latest = text(math.max(meta.latest, call))
  redis.call('HSET', meta_key, 'now', now_text, 'version', stored, 'w:' .. replica, latest)
  if meta.epoch ~= meta.was then redis.call('HSET', meta_key, 'epoch', meta.epoch) end
  if meta.ahead ~= meta.ahead_was then redis.call('HSET', meta_key, 'ahead', text(meta.ahead)) end
  if meta.silent ~= meta.silent_was then
    redis.call('HSET', meta_key, 'silent', text(meta.silent))
  end
  if meta.awaiting ~= meta.awaiting_was then
    redis.call('HSET', meta_key, 'awaiting', meta.awaiting)
  end
  for _, budget in pairs(budgets) do
    local fields = {}
    if budget.step ~= budget.step_was then fields = {'step', text(budget.step)} end
    if budget.leased ~= budget.leased_was then fields = {'L', text(budget.leased), unpack(fields)} end
    if budget.own_is_new then
      local own = budget.own
      table.insert(fields, 'l:' .. replica)
      table.insert(fields, text(own.amount) .. ' ' .. text(own.expiry) .. ' ' .. text(own.till))
    end
    add_changes(fields, {'R', 'S', 'O', 'G'}, budget.total, '')
    for step, sums in pairs(budget.touched) do
      add_changes(fields, {'r', 's', 'o', 'g'}, sums, text(step))
    end
    if #fields > 0 then redis.call('HSET', budget.key, unpack(fields)) end
    if #budget.gone > 0 then redis.call('HDEL', budget.key, unpack(budget.gone)) end
  end
  for key, fields in pairs(raised_fields) do in_parts('HSET', key, fields) end
  for key, _ in pairs(days) do redis.call('EXPIRE', key, DAYS_KEPT * 86400) end
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
  return version
end

-- The budgets of a call: count, then per budget its suffix; then how many scopes, and per scope
-- the places of its budgets among these, joined by commas, = in front of those that refuse.
local function scopes_from(at)
  local suffixes, scopes = {}, {}
  for i = 1, tonumber(ARGV[at]) do suffixes[i] = ARGV[at + i] end
  at = at + #suffixes + 1
  for i = 1, tonumber(ARGV[at]) do
    local names = {}
    for strict, place in string.gmatch(ARGV[at + i], '(=?)(%d+)') do
      table.insert(names, strict .. suffixes[tonumber(place)])
    end
    scopes[i] = table.concat(names, ',')
  end
  return suffixes, scopes, at + #scopes + 1
end

-- Per budget "reserved settled overdraft granted step lease", the caller's lease, joined by commas.
local function totals(suffixes)
  local reply = {}
  for i, suffix in ipairs(suffixes) do
    local budget = budget_of(suffix)
    local total = budget.total
    reply[i] = table.concat({
      text(total[1]), text(total[2]), text(total[3]), text(total[4]), text(budget.step),
      text(budget.own and budget.own.amount or 0),
    }, ' ')
  end
  return table.concat(reply, ',')
end

-- The same of all budgets that this call has touched, and their suffixes.
local function touched_totals()
  local suffixes = {}
  for suffix, _ in pairs(budgets) do table.insert(suffixes, suffix) end
  return table.concat(suffixes, ','), totals(suffixes)
end

local trouble = start()
if trouble then return trouble end
