-- Asks the kernel what it does before telling it what to do, and takes its settings from the environment.
local primary = assert(os.getenv("PRIMARY"), "PRIMARY is not set")
local backup = os.getenv("BACKUP") or "wan2"
local limit = tonumber(os.getenv("LIMIT") or "") or 50

ping_frequency = 0.05
update_frequency = tonumber(os.getenv("EVERY"))
num_seconds = 1
privileged = true

local function lines_of(command)
    local pipe = assert(io.popen(command, "r"))
    local lines = {}
    for line in pipe:lines() do lines[#lines + 1] = line end
    pipe:close()
    return lines
end

-- interface -> gateway, from what the DHCP client left
local gateway = {}
for _, line in ipairs(lines_of("ip -o -4 route show default")) do
    local via, dev = line:match("via (%S+) dev (%S+)")
    if via then gateway[dev] = via end
end

local target = { [primary] = "8.8.8.8", [backup] = "8.8.4.4" }
probes = {}
for dev, address in pairs(target) do
    os.execute("ip route replace " .. address .. " via " .. assert(gateway[dev], dev) .. " dev " .. dev)
    table.insert(probes, probe.new(address))
end

local function current()
    local out = lines_of("ip -o -4 route get 9.9.9.9")[1] or ""
    return out:match(" dev (%S+)")
end

function on_update(gps)
    local wanted = primary
    if gps:get(target[primary]):loss() > limit and gps:get(target[backup]):loss() <= limit then
        wanted = backup
    end
    if current() ~= wanted then
        print("moving from " .. tostring(current()) .. " to " .. wanted)
        os.execute("ip -4 route replace default via " .. gateway[wanted] .. " dev " .. wanted .. " metric 10")
    end
end

function on_quit()
    os.execute("ip -4 route del default metric 10")
end
