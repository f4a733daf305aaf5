-- Ends leases whose time is over, and renews the caller's, or gives it back; the rules are in
-- routoo.budget.redis.lease. A lease grows at once. It shrinks no further than the caller says that it
-- will spend, because the caller may never hear of it.
-- ARGV  9 take: the caller has none yet | renew: a budget that does not know it has been thrown away by
--       Redis | return   10 share of what is left that all leases may hold   11 microseconds that a
--       lease lasts   12 ... per budget its suffix, its limit, and the most that the caller spends
-- Replies OK, time, version, the budgets' totals, per budget what the caller may spend from now on,
-- joined by commas, the names of the other replicas that hold leases or are waited for, joined by
-- spaces, and 1 if a budget waits for them, else 0.
if not meta.epoch then return {'LOST', ''} end
expire(true)
local share, lasts_us = tonumber(ARGV[10]), tonumber(ARGV[11])
local suffixes, wanted, alive, ended, waiting = {}, {}, {}, {}, 0
for i = 12, #ARGV, 3 do
  local budget, limit, most = budget_of(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local others, expired, holders = 0, 0, 1
  local pairs_ = redis.call('HGETALL', budget.key)
  for at = 1, #pairs_, 2 do
    local name = string.match(pairs_[at], '^l:(.+)$')
    if name and name ~= replica then
      local lease = lease_of(budget.key, pairs_[at], pairs_[at + 1])
      if lease.till <= lease_now then
        table.insert(budget.gone, pairs_[at])
        ended[name] = true
      else
        others = others + lease.amount
        if lease.expiry > lease_now then
          holders = holders + 1
          alive[name] = true
        else
          expired = expired + lease.amount
        end
      end
    end
  end
  if ARGV[9] == 'renew' and not budget.own then return {'LOST', meta.epoch} end
  local own = budget.own and budget.own.amount or 0
  budget.leased = others + own
  local left = limit - budget.total[1] - budget.total[2]
  local amount = math.min(
    math.floor((share * math.max(0, left) - expired) / holders), left - others)
  amount = math.max(0, amount)
  if waits(budget) then
    -- What the caller has told since the loss was a part of its lease, too.
    amount = math.min(amount, own, most)
    waiting = 1
  end
  table.insert(suffixes, ARGV[i])
  table.insert(wanted, text(amount))
  if ARGV[9] == 'return' then
    budget.leased = others
    if budget.own then table.insert(budget.gone, 'l:' .. replica) end
    budget.own = nil
  else
    local held = amount >= own and amount or math.max(amount, math.min(own, most))
    local expiry = lease_now + lasts_us
    -- What was spent until the expiry may be told as long as it counts.
    set_lease(budget, held, expiry, held > 0 and expiry + budget.steps * budget.step_us or expiry)
  end
end
-- Those that are waited for are to be remembered, should the books be lost again.
for name in string.gmatch(string.match(meta.awaiting, '^%d+ [01](.*)$') or '', '%S+') do
  alive[name] = true
end
local names, forgotten_names = {}, {}
for name, _ in pairs(alive) do table.insert(names, name) end
for name, _ in pairs(ended) do
  if not alive[name] then table.insert(forgotten_names, 'w:' .. name) end
end
local reply = totals(suffixes)
local version = finish()
if ARGV[9] == 'return' then table.insert(forgotten_names, 'w:' .. replica) end
if #forgotten_names > 0 then redis.call('HDEL', meta_key, unpack(forgotten_names)) end
return {
  'OK', now_text, version, reply, table.concat(wanted, ','), table.concat(names, ' '),
  waiting,
}
