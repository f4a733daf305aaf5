-- Books true costs. ARGV  9 ... pairs of id and cost.
-- Replies OK, time, version, suffixes and totals of the budgets that it touched, and per pair:
-- 0 unknown, 1 settled, 2 reported before, 3 settled after it expired.
if not meta.epoch then return {'LOST', ''} end
expire()
local ids, codes = {}, {}
for i = 9, #ARGV, 2 do table.insert(ids, ARGV[i]) end
for i, decision in ipairs(decisions_of(ids)) do
  local cost = tonumber(ARGV[8 + 2 * i])
  if not decision or decision.state == 'x' then
    codes[i] = 0
  elseif decision.state == 'r' then
    codes[i] = 2
  else
    local state, amount = decision.state, decision.amount
    codes[i] = (state == 'e' or state == 'w') and 3 or 1
    -- Without an amount it was released when it expired, or there is nothing to compare with.
    local reported = amount > 0 and cost or 0
    if state == 'o' then
      book(decision.scope, decision.time, -amount, cost, 0, 0, reported, amount, 0)
    elseif state == 'e' then
      book(decision.scope, decision.time, 0, cost - amount, 0, 0, reported, amount, -1)
    else
      book(decision.scope, decision.time, 0, 0, cost - amount, 0)
    end
    decision.state = 'r'
    put(ids[i], decision)
  end
end
local version = finish()
local suffixes, sums = touched_totals()
return {'OK', now_text, version, suffixes, sums, codes}
