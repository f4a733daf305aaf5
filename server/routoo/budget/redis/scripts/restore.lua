-- Redis has lost its books: puts back the most that any replica has seen in each budget, as
-- settled. Every replica calls this with what it has seen last; what has been spent since comes on
-- top. Safe to repeat.
-- ARGV  6 name of the epoch, should there be none; then rows of a budget's suffix, a step, and what
-- was reserved and settled in it and before. Replies OK, epoch.
if not meta.epoch then meta.epoch = ARGV[6] end
redis.call('HLEN', decisions_key) -- fails now if it is not ours
expire(true)
local bases = {}
for i = 7, #ARGV, 3 do
  local budget, step, seen = budget_of(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local field = 'b' .. text(step)
  local base = number(budget.key, field, redis.call('HGET', budget.key, field))
  if seen > base and step > budget.step - budget.steps then
    book_in(ARGV[i], step * budget.step_us, {0, seen - base, 0, 0}, {0, 0, 0})
    table.insert(bases, {budget.key, field, text(seen)})
  end
end
finish()
for _, base in ipairs(bases) do redis.call('HSET', unpack(base)) end
return {'OK', meta.epoch}
