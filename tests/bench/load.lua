-- Requests of every kind for wrk, and the result as one line of JSON.
--
--   wrk … -s load.lua URL -- get PATH          the same GET again and again
--   wrk … -s load.lua URL -- ids PREFIX FILE   GET PREFIX..id, ids from the lines of FILE
--   wrk … -s load.lua URL -- predict           POST /predict, bodies of three varied features
--   wrk … -s load.lua URL -- post PATH N       POST PATH, bodies of N varied features
--   wrk … -s load.lua URL -- text PATH FILE    POST PATH, texts from the lines of FILE
--
-- The key for X-API-Key comes from the environment (API_KEY), the token for Authorization, too (TOKEN). All kinds go through request(), so that what wrk itself
-- costs is the same for all.
local BODIES = 1024

local threads = 0
function setup(thread)
  thread:set("offset", threads * 509)
  threads = threads + 1
end

local requests, n, at = {}, 0, 0

local function post(path, features)
  local headers = { ["Content-Type"] = "application/json", ["X-API-Key"] = os.getenv("API_KEY") }
  math.randomseed(7)
  for i = 1, BODIES do
    local values = {}
    for k = 1, features do
      values[k] = string.format("%.3f", math.random() * 4 - 2)
    end
    requests[i] = wrk.format("POST", path, headers, '{"features":[' .. table.concat(values, ",") .. "]}")
  end
end

local function predict()
  local headers = { ["Content-Type"] = "application/json", ["X-API-Key"] = os.getenv("API_KEY") }
  math.randomseed(7)
  for i = 1, BODIES do
    local body = string.format('{"features":[%.1f,%.2f,%d.0]}', math.random() * 100, math.random() * 10, i)
    requests[i] = wrk.format("POST", "/predict", headers, body)
  end
end

local function text(path, file)
  local headers = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. os.getenv("TOKEN") }
  for line in io.lines(file) do
    requests[#requests + 1] = wrk.format("POST", path, headers, '{"text":"' .. line .. '"}')
  end
end

function init(args)
  if args[1] == "predict" then
    predict()
  elseif args[1] == "post" then
    post(args[2], tonumber(args[3]))
  elseif args[1] == "text" then
    text(args[2], args[3])
  elseif args[1] == "ids" then
    for id in io.lines(args[3]) do
      requests[#requests + 1] = wrk.format("GET", args[2] .. id)
    end
  else
    requests[1] = wrk.format("GET", args[2])
  end
  n = #requests
  at = offset
end

function request()
  at = at + 1
  return requests[at % n + 1]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\nRESULT {"requests":%d,"seconds":%.6f,"rps":%.1f,"p50_ms":%.3f,"p99_ms":%.3f,"p999_ms":%.3f,"max_ms":%.3f,'
      .. '"status_errors":%d,"socket_errors":%d,"timeouts":%d}\n',
    summary.requests, summary.duration / 1e6, summary.requests / (summary.duration / 1e6),
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3, latency.max / 1e3,
    e.status, e.connect + e.read + e.write, e.timeout))
end
