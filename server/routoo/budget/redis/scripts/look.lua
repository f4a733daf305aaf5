-- Reads the budgets; books that are empty are opened.
-- ARGV  6 name of the epoch, should there be none   7 ... suffixes of the budgets
-- Replies OK, time, version, epoch, the budgets' totals, per budget the oldest step in which
-- something was booked (0: none), joined by commas, and per budget "m n u" over the steps that count,
-- joined by commas.
if not meta.epoch then meta.epoch = ARGV[6] end
redis.call('HLEN', decisions_key) -- fails now if it is not ours
expire(true)
local suffixes, oldest, reports = {}, {}, {}
for i = 7, #ARGV do table.insert(suffixes, ARGV[i]) end
for i, suffix in ipairs(suffixes) do
  local budget = budget_of(suffix)
  oldest[i] = '0'
  local sums = {m = 0, n = 0, u = 0}
  local fields = redis.call('HGETALL', budget.key)
  for at = 1, #fields, 2 do
    local letter, step = string.match(fields[at], '^([rmnu])(%d+)$')
    step = tonumber(step)
    local counts = step and step > budget.step - budget.steps
    if counts and letter == 'r' and (oldest[i] == '0' or step < tonumber(oldest[i])) then
      oldest[i] = text(step)
    elseif counts and letter ~= 'r' then
      sums[letter] = sums[letter] + number(budget.key, fields[at], fields[at + 1])
    elseif step and letter ~= 'r' then -- left by a replica of a version that knows none of them
      table.insert(budget.gone, fields[at])
    end
  end
  -- What this call itself has expired is written at its end.
  for field, change in pairs(told[budget.key] or {}) do
    local letter, step = string.match(field, '^(%a)(%d+)$')
    if tonumber(step) > budget.step - budget.steps then sums[letter] = sums[letter] + change end
  end
  reports[i] = text(sums.m) .. ' ' .. text(sums.n) .. ' ' .. text(sums.u)
end
local reply = totals(suffixes)
local version = finish()
return {
  'OK', now_text, version, meta.epoch, reply, table.concat(oldest, ','), table.concat(reports, ','),
}
