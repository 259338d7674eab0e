-- The bench's work for wrk: wrk … -s wrk.lua URL -- METHOD BODY_BYTES CONNECTION; ends with one line of JSON.
function init(args)
  local method, bodyBytes, connection = args[1] or 'GET', tonumber(args[2] or '0'), args[3] or 'keep-alive'
  wrk.method = method
  if bodyBytes > 0 then
    wrk.body = string.rep('x', bodyBytes)
    wrk.headers['Content-Type'] = 'application/octet-stream'
  end
  if connection == 'close' then wrk.headers['Connection'] = 'close' end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"badStatus":%d,"errors":%d,"timeouts":%d,"durationSec":%.6f,"p50Ms":%.3f,"p99Ms":%.3f,"p999Ms":%.3f,"maxMs":%.3f}\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write, errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency:percentile(99.9) / 1e3, latency.max / 1e3))
end
