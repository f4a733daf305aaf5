-- Books decisions in order, as long as there is money for them.
-- What others have leased is not available; the caller's own lease is, if it says so, and is lowered
-- by what it had to give. While others have still to tell of lost books, there is nothing but that.
-- ARGV  9 any | all: whether one refusal refuses the call; over: beside the budgets, those apart
--       that refuse
--       10 1: the caller's leases may be taken from, else 0
--       11 budgets and scopes; then each budget's limit; then rows of id, amount, scope
-- Replies OK, time, version, per row (joined by commas; empty: all 0) 0 granted or the place of the
-- budget that lacks the money, the budgets' totals, and 1 if it granted from leases alone, else 0.
if not meta.epoch then return {'LOST', ''} end
expire()
local mode, takes = ARGV[9], ARGV[10] == '1'
local suffixes, scopes, at = scopes_from(11)
local limits, members, stricts, ids = {}, {}, {}, {}
for i, suffix in ipairs(suffixes) do
  limits[i] = tonumber(ARGV[at + i - 1])
  budget_of(suffix)
end
at = at + #suffixes
for i, scope in ipairs(scopes) do
  members[i], stricts[i] = {}, {}
  for strict, suffix in string.gmatch(scope, '(=?)([^,=]+)') do
    for place, other in ipairs(suffixes) do
      if other == suffix then
        table.insert(members[i], place)
        if strict == '=' then table.insert(stricts[i], place) end
      end
    end
  end
end
for i = at, #ARGV, 3 do table.insert(ids, ARGV[i]) end
local existing, left, need, count = decisions_of(ids), {}, {}, {}
local waiting, had, booked = {}, {}, false
for place, suffix in ipairs(suffixes) do
  local budget = budget_of(suffix)
  -- Who calls holds a lease in each budget: one without it has been thrown away by Redis.
  if not budget.own then return {'LOST', meta.epoch} end
  local own = takes and budget.own.amount or 0
  left[place] = limits[place] - budget.total[1] - budget.total[2] - budget.leased + own
  waiting[place] = waits(budget)
  if waiting[place] then left[place] = math.min(left[place], own) end
  had[place] = left[place]
end
local codes, refusing = {}, 0
for i, _ in ipairs(ids) do
  local amount, scope = tonumber(ARGV[at + 3 * i - 2]), tonumber(ARGV[at + 3 * i - 1])
  local code, known = 0, existing[i]
  if known and (known.state ~= 'x' or mode ~= 'over') then
    -- Booked by a call whose answer got lost; or cancelled since, then it is for the next id.
    if known.state == 'x' then code = members[scope][1] end
  else
    for _, place in ipairs(mode == 'over' and stricts[scope] or members[scope]) do
      if left[place] < amount then code = place break end
    end
    if code == 0 then
      need[scope] = (need[scope] or 0) + amount
      count[scope] = (count[scope] or 0) + 1
      for _, place in ipairs(mode == 'over' and stricts[scope] or members[scope]) do
        left[place] = left[place] - amount
      end
    end
  end
  codes[i] = code
  if code > 0 and refusing == 0 then refusing = code end
end
if mode == 'all' and refusing > 0 then
  for i, _ in ipairs(codes) do codes[i] = refusing end
else
  local letter = mode == 'over' and 'v ' or 'o '
  booked = true
  for scope, amount in pairs(need) do
    if mode == 'over' then
      book(scopes[scope], now, 0, 0, amount, 0)
    else
      book(scopes[scope], now, amount, 0, 0, count[scope])
    end
  end
  for i, id in ipairs(ids) do
    if codes[i] == 0 and not (existing[i] and existing[i].state ~= 'x') then
      puts[id] = letter .. ARGV[at + 3 * i - 2] .. ' ' .. now_text .. ' ' .. now_text .. ' '
        .. scopes[tonumber(ARGV[at + 3 * i - 1])]
      table.insert(pushed, now_text .. ' ' .. id)
    end
  end
end
for place, suffix in ipairs(suffixes) do
  local budget = budget_of(suffix)
  local own = budget.own
  if takes and own.amount > 0 then
    local missing = budget.total[1] + budget.total[2] + budget.leased - limits[place]
    if waiting[place] then missing = booked and had[place] - left[place] or 0 end
    if missing > 0 then
      set_lease(budget, math.max(0, own.amount - missing), own.expiry, own.till)
    end
  end
end
local alone = 0
for _, waits_for_others in ipairs(waiting) do
  if waits_for_others then alone = 1 end
end
local version = finish()
return {
  'OK', now_text, version, refusing > 0 and table.concat(codes, ',') or '', totals(suffixes),
  alone,
}
