-- Reads the budgets; books that are empty are opened.
-- ARGV  9 name of the epoch, should there be none   10 name of the process of Redis, or empty: books
--       that another process has written may be older than they were   11 ... suffixes of the budgets
-- Replies OK, time, version, epoch, the budgets' totals, and per budget the oldest step in which
-- something was booked (0: none), joined by commas.
local process = ARGV[10]
local known_process = redis.call('HGET', meta_key, 'process')
if process ~= '' and meta.epoch and known_process ~= process then return {'LOST', meta.epoch} end
if not meta.epoch then meta.epoch = ARGV[9] end
redis.call('HLEN', decisions_key) -- fails now if it is not ours
expire(true)
local suffixes, oldest = {}, {}
for i = 11, #ARGV do table.insert(suffixes, ARGV[i]) end
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
if process ~= '' and known_process ~= process then
  redis.call('HSET', meta_key, 'process', process)
end
return {'OK', now_text, version, meta.epoch, reply, table.concat(oldest, ',')}
