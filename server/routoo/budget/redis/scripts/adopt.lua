-- Books what a replica decided by itself, unconditionally. Safe to repeat: an id that is here already
-- is made what it should be.
-- ARGV  9 1: granted out of the caller's leases while Redis answered, so that they are lowered by it;
--       0: while Redis was away   10 budgets and scopes; then rows of id, amount, time, o | v, scope.
-- Replies OK, time, version, suffixes and totals of the budgets that it touched.
if not meta.epoch then return {'LOST', ''} end
expire()
local AT_ONCE_US = 1000000
local leased = ARGV[9] == '1'
local _, scopes, at = scopes_from(10)
local ids, lowered = {}, {}
for i = at, #ARGV, 5 do table.insert(ids, ARGV[i]) end
for i, decision in ipairs(decisions_of(ids)) do
  local row = at + 5 * (i - 1)
  local wanted = {
    amount = tonumber(ARGV[row + 1]), time = math.min(tonumber(ARGV[row + 2]), now),
    state = ARGV[row + 3], scope = scopes[tonumber(ARGV[row + 4])],
  }
  -- By a clock that was put forward meanwhile, it belongs to a later period than when it was decided.
  if leased and now - wanted.time > AT_ONCE_US then wanted.time = now end
  local present = decision and (decision.state == 'o' or decision.state == 'v')
  if present then -- booked by a call whose answer got lost, perhaps with another amount
    if decision.state == 'o' then
      book(decision.scope, decision.time, -decision.amount, 0, 0, -1)
    else
      book(decision.scope, decision.time, 0, 0, -decision.amount, 0)
    end
    wanted.time = decision.time
  end
  if present or not decision or decision.state == 'x' then
    if wanted.state == 'o' then
      book(wanted.scope, wanted.time, wanted.amount, 0, 0, 1)
    else
      book(wanted.scope, wanted.time, 0, 0, wanted.amount, 0)
    end
    if present then
      wanted.booked = decision.booked
      put(ids[i], wanted)
    else
      put_new(ids[i], wanted)
      lowered[wanted.scope] = (lowered[wanted.scope] or 0) + wanted.amount
    end
  end
end
if leased then
  for scope, amount in pairs(lowered) do
    for suffix in string.gmatch(scope, '[^,=]+') do
      local budget = budget_of(suffix)
      local own = budget.own
      if not own then return {'LOST', meta.epoch} end
      set_lease(budget, math.max(0, own.amount - amount), own.expiry, own.till)
    end
  end
end
local version = finish()
return {'OK', now_text, version, touched_totals()}
