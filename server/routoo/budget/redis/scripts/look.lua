-- Reads the budgets; books that are empty are opened.
-- ARGV  9 name of the epoch, should there be none   10 name of the process of Redis, or empty: books
--       that another process has written may be older than they were   11 ... suffixes of the budgets
-- Replies OK, time, version, epoch, the budgets' totals, per budget the oldest step in which
-- something was booked (0: none), joined by commas, and per budget "m n u" over the steps that count,
-- joined by commas.
local process = ARGV[10]
local known_process = redis.call('HGET', meta_key, 'process')
if process ~= '' and meta.epoch and known_process ~= process then return {'LOST', meta.epoch} end
if not meta.epoch then meta.epoch = ARGV[9] end
redis.call('HLEN', decisions_key) -- fails now if it is not ours
expire(true)
local suffixes, oldest, reports = {}, {}, {}
for i = 11, #ARGV do table.insert(suffixes, ARGV[i]) end
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
if process ~= '' and known_process ~= process then
  redis.call('HSET', meta_key, 'process', process)
end
return {
  'OK', now_text, version, meta.epoch, reply, table.concat(oldest, ','), table.concat(reports, ','),
}
