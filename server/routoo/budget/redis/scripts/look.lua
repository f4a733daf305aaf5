-- Reads the budgets; books that are empty are opened.
-- ARGV  6 name of the epoch, should there be none   7 ... suffixes of the budgets
-- Replies OK, time, version, epoch, the budgets' totals, and per budget the oldest step in which
-- something was booked (0: none), joined by commas.
if not meta.epoch then meta.epoch = ARGV[6] end
redis.call('HLEN', decisions_key) -- fails now if it is not ours
expire(true)
local suffixes, oldest = {}, {}
for i = 7, #ARGV do table.insert(suffixes, ARGV[i]) end
for i, suffix in ipairs(suffixes) do
  local budget = budget_of(suffix)
  oldest[i] = '0'
  for _, field in ipairs(redis.call('HKEYS', budget.key)) do
    local step = tonumber(string.match(field, '^r(%d+)$'))
    if step and step > budget.step - budget.steps
        and (oldest[i] == '0' or step < tonumber(oldest[i])) then
      oldest[i] = text(step)
    end
  end
end
local reply = totals(suffixes)
local version = finish()
return {'OK', now_text, version, meta.epoch, reply, table.concat(oldest, ',')}
