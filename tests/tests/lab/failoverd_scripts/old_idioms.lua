-- Written long ago: a library beside the script, settings in an environment of their own, and Lua 5.1 as it was.
package.path = "./lib/?.lua;" .. package.path
require "routes"

local settings = {}
local chunk = assert(loadfile("lib/settings.conf"))
setfenv(chunk, settings)
chunk()

ping_frequency, update_frequency, num_seconds = unpack(settings.times)
privileged = settings.raw

probes = {}
table.foreachi(settings.uplinks, function(i, uplink)
    local target, device, gateway = unpack(uplink)
    routes.host(target, gateway, device)
    table.insert(probes, probe.new(target, device))
end)

local render = loadstring("local n, loss = ... return string.format('%d: %d%%', n, loss)")

function report(...)
    for i = 1, select("#", ...) do
        print(render(i, (select(i, ...)):loss()))
    end
end

function on_update(gps)
    local all = {}
    for i = 1, table.getn(settings.uplinks) do
        all[i] = gps:get(settings.uplinks[i][1])
    end
    local wanted = 1
    if math.mod(all[1]:loss(), 101) > settings.limit and all[2]:loss() < all[1]:loss() then
        wanted = 2
    end
    if routes.active ~= wanted then
        report(unpack(all))
        routes.default(unpack(settings.uplinks[wanted], 2))
        routes.active = wanted
    end
end
