-- What wrk sends: the body of one form again and again; arguments: file of the body. At the end it prints JSON.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  local headers = { ["Content-Type"] = "multipart/form-data; boundary=x" }
  form = wrk.format("POST", nil, headers, file:read("*a"))
  file:close()
  statuses = {}
end

function request()
  return form
end

function response(status)
  statuses[status] = (statuses[status] or 0) + 1
end

function done(summary, latency)
  local counts = {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("statuses")) do
      table.insert(counts, string.format('"%d": %d', status, count))
    end
  end
  -- "timeout" is not among the errors: wrk counts there what took more than 2 seconds and was answered all the same
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write
  print(string.format(
    '{"statuses": {%s}, "lost": %d, "seconds": %f, "p50": %f, "p99": %f}',
    table.concat(counts, ", "), lost, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3
  ))
end
