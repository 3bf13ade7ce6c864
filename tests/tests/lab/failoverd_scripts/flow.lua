-- The policy as one flow of control: a coroutine that is resumed at each update.
ping_frequency = 0.05
update_frequency = 0.1
num_seconds = 1

os.execute("ip route replace 8.8.8.8 via 10.0.1.1 dev wan1")
os.execute("ip route replace 1.1.1.1 via 10.0.2.1 dev wan2")
probes = { probe.new("8.8.8.8"), probe.new("1.1.1.1") }

local function route(dev, gateway)
    return function()
        local command = "ip route replace default dev " .. dev .. " via " .. gateway
        if os.execute(command) ~= 0 then error("failed: " .. command) end
        print("on " .. dev)
    end
end

local primary, backup = route("wan1", "10.0.1.1"), route("wan2", "10.0.2.1")

local function wait_until(condition, times)
    local met = 0
    while met < times do
        local gps = coroutine.yield()
        met = condition(gps) and met + 1 or 0
    end
end

local function first_loss(gps) return gps:get("8.8.8.8"):loss() end

local policy = coroutine.create(function()
    while true do
        primary()
        wait_until(function(gps) return first_loss(gps) > 50 end, 2)
        backup()
        wait_until(function(gps) return first_loss(gps) < 1 end, 3)
    end
end)

function on_update(gps)
    local ok, why = coroutine.resume(policy, gps)
    if not ok then
        print("the policy has ended: " .. why)
        os.exit(3)
    end
end
