-- Takes back decisions that nobody acted on, whether they were booked or are still to arrive from a
-- call that was given up. ARGV  9 ... ids.
-- Replies OK, time, version, suffixes and totals of the budgets that it touched.
if not meta.epoch then return {'LOST', ''} end
expire()
local ids = {}
for i = 9, #ARGV do table.insert(ids, ARGV[i]) end
for i, decision in ipairs(decisions_of(ids)) do
  if not decision then
    put_new(ids[i], {state = 'x', amount = 0, time = now, scope = ''})
  elseif decision.state ~= 'r' and decision.state ~= 'x' then
    local amount = -decision.amount
    if decision.state == 'o' then
      book(decision.scope, decision.time, amount, 0, 0, -1)
    elseif decision.state == 'e' then
      book(decision.scope, decision.time, 0, amount, 0, -1, 0, 0, -1)
    else
      book(decision.scope, decision.time, 0, 0, amount, 0)
    end
    decision.state, decision.amount = 'x', 0
    put(ids[i], decision)
  end
end
local version = finish()
return {'OK', now_text, version, touched_totals()}
