-- Redis has lost its books, or they are an older state of themselves: raises each budget to what it
-- was in the latest answer that any replica got. Every replica calls this; safe to repeat. The first
-- marks the books with a new epoch, so that all others notice. Until all that may know more have
-- called, replicas are granted no more than their own leases: for as long as a lease lasts, and, if the
-- callers want that, for a period more, after which nothing counts that was granted before.
--
-- meta: process: of Redis; back: names of those that have called; merged: books that were opened
-- while these were lost, by their names in front of the dot of an epoch; mark: new if these were such
-- books, so that all that they hold comes on top, else old. b of a budget: "base total version
-- number-of-the-epoch step".
-- ARGV  9 epoch that the caller knew, or empty   10 a name for new books   11 latest version that the
--       caller knows   12 microseconds that a lease lasts   13 names of the other replicas that it
--       knows, joined by spaces   14 name of the process of Redis, or empty   15 the time, by the
--       caller's reckoning   16 1: wait a period more, else 0   17 ... per budget its suffix, a step,
--       what was reserved and settled in it and before (-1: not known), the version of that, and the
--       lease that the caller holds
-- Replies OK, time, version, epoch, the budgets' totals, and the names of those that are waited for,
-- joined by spaces.
local function parts(epoch) return string.match(epoch, '^([^.]*)%.?(%d*)$') end
local function holds(names, name) return string.find(' ' .. names .. ' ', ' ' .. name .. ' ', 1, true) end

local stored = redis.call('HMGET', meta_key, 'merged', 'mark', 'back')
local merged, mark, back = stored[1] or '', stored[2] or 'new', stored[3] or ''
local born_known, number_known = parts(ARGV[9])
number_known = tonumber(number_known) or 0
local born, count = parts(meta.epoch or '')
count = tonumber(count) or 0
local marks, knows = true, true
if not meta.epoch then
  born, mark = born_known ~= '' and born_known or ARGV[10], 'old'
elseif born_known ~= '' and born_known ~= born and holds(merged, born_known) then
  marks, knows = false, false -- all that the caller knows is in these books
elseif born_known ~= '' and born_known ~= born then
  merged, born, mark = merged .. ' ' .. born, born_known, 'new'
elseif born_known ~= '' and count > number_known then
  marks = false
else
  mark = 'old'
end
if marks then
  -- The time, so that a later loss has a higher number, whoever notices it: books that were opened by
  -- one that has missed a loss would else look like an older state of those that others know.
  count = math.max(count + 1, number_known + 1, now, tonumber(ARGV[15]))
  back = ''
end
meta.epoch = born .. '.' .. text(count)
meta.version = math.max(meta.version, tonumber(ARGV[11]))
local behind = tonumber(ARGV[15]) - now
if behind > WAITED_OUT_US then
  meta.ahead, now, lease_now = meta.ahead + behind, now + behind, lease_now + behind
  now_text = text(now)
end
redis.call('HLEN', decisions_key) -- fails now if it is not ours
expire(true)

local suffixes, bases, await = {}, {}, ARGV[13]
local expiry = lease_now + tonumber(ARGV[12])
for i = 17, #ARGV, 5 do
  local budget, step = budget_of(ARGV[i]), tonumber(ARGV[i + 1])
  local seen, version, lease = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  table.insert(suffixes, ARGV[i])
  local pairs_ = redis.call('HGETALL', budget.key)
  local base
  for at = 1, #pairs_, 2 do
    local field, value = pairs_[at], pairs_[at + 1]
    local name = string.match(field, '^l:(.+)$')
    if name and name ~= replica and marks and lease_of(budget.key, field, value).expiry > lease_now
        and not holds(await, name) then
      await = await .. ' ' .. name
    elseif field == 'b' then
      local from, total, at_version, of, at_step =
        string.match(value, '^(%d+) (%d+) (%-?%d+) (%d+) (%d+)$')
      if not from then error('GARBAGE ' .. budget.key .. ' b') end
      if tonumber(of) == count then
        base = {
          from = tonumber(from), total = tonumber(total), version = tonumber(at_version),
          step = tonumber(at_step),
        }
      end
    end
  end
  if not base then
    local from = mark == 'old' and math.max(0, budget.total[1] + budget.total[2]) or 0
    base = {from = from, total = from, version = -1, step = 0}
  end
  if knows and seen >= 0 and version > base.version and step > budget.step - budget.steps then
    local total = math.max(seen, base.from)
    -- What an earlier caller has put back is taken out of its own step: taken out of a later one, it
    -- would be missing there when its own step counts no longer.
    book_in(ARGV[i], base.step * budget.step_us, {0, base.from - base.total, 0, 0}, {0, 0, 0})
    book_in(ARGV[i], step * budget.step_us, {0, total - base.from, 0, 0}, {0, 0, 0})
    base.total, base.version, base.step = total, version, step
  end
  table.insert(bases, {budget.key, table.concat(
    {text(base.from), text(base.total), text(base.version), text(count), text(base.step)}, ' ')})
  local own = math.max(lease, budget.own and budget.own.amount or 0)
  set_lease(budget, own, expiry, own > 0 and expiry + budget.steps * budget.step_us or expiry)
end

local till, longer = text(expiry), ARGV[16]
local before, longer_before, names = string.match(meta.awaiting, '^(%d+) ([01])(.*)$')
if before then
  await = await .. names
  if not marks then till, longer = before, longer_before end
end
if not holds(back, replica) then back = back .. ' ' .. replica end
local missing = {}
for name in string.gmatch(await, '%S+') do
  if not holds(back, name) and not missing[name] then
    missing[name] = true
    table.insert(missing, name)
  end
end
meta.awaiting = till .. ' ' .. longer .. ' ' .. table.concat(missing, ' ')
local reply = totals(suffixes)
local version = finish()
redis.call('HSET', meta_key, 'merged', merged, 'mark', mark, 'back', back)
if ARGV[14] ~= '' then redis.call('HSET', meta_key, 'process', ARGV[14]) end
for _, base in ipairs(bases) do redis.call('HSET', base[1], 'b', base[2]) end
return {'OK', now_text, version, meta.epoch, reply, table.concat(missing, ' ')}
