-- Two lines, and a script that says which of them carries: the first that loses less than half. It runs as it is by
-- `pingu --config failoverd.lua`, and by failoverd.

ping_frequency = 0.5     -- seconds from one ping to the next
update_frequency = 1     -- seconds from one decision to the next
num_seconds = 4          -- losses are counted over so long
privileged = true

lines = {
    { target = "8.8.8.8", interface = "eth0", route = "via 10.0.1.1 dev eth0" },
    { target = "1.1.1.1", interface = "eth1", route = "via 10.0.2.1 dev eth1" },
}

probes = {}
for _, line in ipairs(lines) do
    table.insert(probes, probe.new(line.target, line.interface))
end

-- A metric below those of the DHCP client, whose routes stay. To replace leaves no gap.
function use(line)
    if os.execute("ip route replace default " .. line.route .. " metric 10") == 0 then
        current = line
        print("leaving by " .. line.interface)
    end
end

function on_update(gps)
    for _, line in ipairs(lines) do
        if gps:get(line.target):loss() < 50 then
            if line ~= current then
                use(line)
            end
            return
        end
    end
    -- Nobody answers: all stays as it is.
end

function on_quit(gps)
    os.execute("ip route del default metric 10")
    print("Shutting down")
end
