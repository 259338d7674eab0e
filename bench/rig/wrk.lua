-- The script that wrk runs: wrk … -s wrk.lua URL -- METHOD BODY_BYTES CONNECTION CLIENTS. It prints one line of JSON at the end.
local requests, asked = {}, 0

function init(args)
  local method, bodyBytes, connection = args[1] or 'GET', tonumber(args[2] or '0'), args[3] or 'keep-alive'
  wrk.method = method
  if bodyBytes > 0 then
    wrk.body = string.rep('x', bodyBytes)
    wrk.headers['Content-Type'] = 'application/octet-stream'
  end
  if connection == 'close' then wrk.headers['Connection'] = 'close' end
  local clients = tonumber(args[4] or '1')
  if clients == 1 then return end
  -- An address 10.x.y.z for each client.
  for n = 0, clients - 1 do
    wrk.headers['X-Forwarded-For'] =
      string.format('10.%d.%d.%d', math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256)
    requests[n + 1] = wrk.format()
  end
  -- Defined only where clients differ: without this function wrk makes its request once and reuses it.
  function request()
    asked = asked + 1
    return requests[(asked - 1) % clients + 1]
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"badStatus":%d,"errors":%d,"timeouts":%d,"durationSec":%.6f,"p50Ms":%.3f,"p99Ms":%.3f,"p999Ms":%.3f,"maxMs":%.3f}\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write, errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency:percentile(99.9) / 1e3, latency.max / 1e3))
end
